# The two networks that people install, adopted and evaluated on FER2013's test faces (PrivateTest).
#
#     sh tests/studies/installed_models/measure.sh WORKSPACE MODELS
#
# WORKSPACE holds FER2013 (fertool prepare fer2013.zip), MODELS the two files of weights.
set -e
workspace=$1 models=$2
cd "$(dirname "$0")"
fertool train -w "$workspace" --epochs 0 --name fer --model fer_mini_xception:mini_xception \
    --weights "$models/fer_mini_xception.safetensors" --image-size 64 --channels 1 --pixel-range=-1-1 \
    --interpolation bilinear-plain --class-order angry,disgust,fear,happy,sad,surprise,neutral
fertool train -w "$workspace" --epochs 0 --name face-api --model faceapi_expression:expression_net \
    --weights "$models/faceapi_expression.safetensors" --image-size 112 --pixel-range 0-255 \
    --mean 122.782,117.001,104.298 --std 255,255,255 --interpolation bilinear-plain \
    --class-order neutral,happy,sad,angry,fear,disgust,surprise
for run in fer face-api; do fertool score -w "$workspace" --run $run --suite classification; done
