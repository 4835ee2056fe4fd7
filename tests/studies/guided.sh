#!/bin/sh
# Does telling a model to look at the face change where it looks, what it uses, and how well it does?
#
#   make study-guided                                    the planted truth; FER2013 too where `data` holds it with masks
#   make study-guided PARTS=planted                      one part: planted, transformers or fer2013
#   make study-guided PARTS=fer2013 EPOCHS=30 SEEDS=0-2  longer trainings on FER2013
#
# Lambda is chosen on val, by the rule of `fertool train --guide-weight 0,...`, and every lambda is measured there; test
# is looked at for the chosen one, beside lambda 0 and the placebo. What is done is left alone: a study that was stopped
# goes on where it was.
set -eu

PARTS=${PARTS:-planted transformers fer2013}
STUDY=${STUDY:-data/study-guided}
FER2013=${FER2013:-data}
EPOCHS=${EPOCHS:-6}
SEEDS=${SEEDS:-0-4}
OCCLUSION='occlusion@stride=8' # 36 places a face

# sweep NAME LAMBDAS TRAINING-OPTIONS...: trains every lambda; $chosen is the one that the rule takes, if any
sweep() {
    name=$1 lambdas=$2
    shift 2
    answer="$FERTOOL_WORKSPACE/chosen-$name.json"
    fertool train --name "$name" --guide-weight "$lambdas" "$@" --json >"$answer"
    chosen=$(sed -n 's/.*"chosen": \([0-9][0-9.]*\).*/\1/p' "$answer")
    chosen=${chosen%.0}
    echo "$name: lambda ${chosen:-none} chosen on val"
}

# runs PATTERN...: the options that name the runs that fit; $found
runs() {
    found=
    for pattern in "$@"; do
        for folder in "$FERTOOL_WORKSPACE"/runs/$pattern; do
            [ -e "$folder/run.json" ] || { echo "no run is called $pattern" >&2; exit 1; }
            found="$found --run ${folder##*/}"
        done
    done
}

# measured SPLIT EXPLAINER PATTERN...: where the map lies that guided, and those that did not; what the network uses
measured() {
    split=$1 explainer=$2
    shift 2
    runs "$@"
    fertool score --split "$split" $found --target label --explainer "$explainer" --fill mean --precision auto \
        --suite classification --suite attention --suite faithfulness --suite causal
    for other in gradcam "$OCCLUSION"; do
        fertool score --split "$split" $found --target label --explainer "$other" --precision auto --suite attention
    done
}

# --- 1. Planted truth: a mark in the background gives 90% of train's labels away, and says nothing in val and test

# planted NAME EXPLAINER LAMBDAS TRAINING-OPTIONS...
planted() {
    name=$1 explainer=$2 lambdas=$3
    shift 3
    sweep "$name" "$lambdas" "$@"
    measured val "$explainer" "$name-g[0-9]*-s*"
    measured test "$explainer" "$name-g0-s*" ${chosen:+"$name-g$chosen-s*"}
}

marked_faces() {
    export FERTOOL_WORKSPACE="$STUDY"
    fertool prepare synthetic --count 5000 --spurious 0.9
    fertool masks
}

part_planted() {
    marked_faces
    cnn='--model cnn --epochs 12 --lr 1e-3 --seeds 0-2'
    gap='--model cnn-gap --epochs 24 --lr 3e-3 --seeds 0-2'
    planted cnn gradcam-abs 0,1,3,10 $cnn --guide background
    planted cnn-relu gradcam 0,3,10 $cnn --guide background --guide-map relu
    planted cnn-plain gradcam 0,3,10 $cnn --guide background-sum --guide-map relu # the formula as it is written
    planted gap gradcam-abs 0,1,3,10 $gap --guide background
    planted gap-relu gradcam 0,3,10 $gap --guide background --guide-map relu
    fertool report --split val
    cp "$STUDY/report/index.html" "$STUDY/planted-val.html"
    fertool report
    cp "$STUDY/report/index.html" "$STUDY/planted-test.html"
}

# Of a vision transformer what is guided is its attention, in one of three ways; unguided it is one network. Lambda
# is not chosen but given, so test is where it is measured
part_transformers() {
    marked_faces
    vit='--model vit_tiny_patch16_224 --weights none --image-size 96 --epochs 20 --seeds 0-2'
    fertool train --name vit-plain $vit
    for explainer in attention rollout all-blocks; do
        fertool train --name "vit-$explainer" $vit --guide background --guide-weight 3 --guide-explainer "$explainer"
        runs 'vit-plain-s*' "vit-$explainer-s*"
        fertool score $found --target label --fill mean --precision auto \
            --suite classification --suite attention --suite causal --explainer "$explainer"
        fertool score $found --target label --precision auto --suite attention --explainer "$OCCLUSION"
    done
    runs 'vit-*-s*'
    fertool report $found
    cp "$STUDY/report/index.html" "$STUDY/transformers-test.html"
}

# --- 2. FER2013: every lambda with each face's own masks and with another face's

part_fer2013() {
    if [ ! -e "$FER2013/masks/test.npz" ]; then
        echo "no masks in $FER2013: FER2013 is left out ('fertool prepare' and 'fertool masks' come first)"
        return
    fi
    export FERTOOL_WORKSPACE="$FER2013"
    own="guided-e$EPOCHS" placebo="guided-e$EPOCHS-shuffled"
    cnn="--model cnn --epochs $EPOCHS --lr 1e-3 --seeds $SEEDS --guide background"
    sweep "$placebo" 0.1,0.3,1,3 $cnn --guide-masks shuffled
    sweep "$own" 0,0.1,0.3,1,3 $cnn
    measured val gradcam-abs "$own-g[0-9]*-s*" "$placebo-g[0-9]*-s*"
    fertool score --split val $found --target label --suite robustness --precision auto
    fertool report --split val $found
    cp "$FER2013/report/index.html" "$FER2013/guided-val.html"

    measured test gradcam-abs "$own-g0-s*" ${chosen:+"$own-g$chosen-s*" "$placebo-g$chosen-s*"}
    fertool score $found --target label --suite robustness --precision auto
    fertool report $found
    cp "$FER2013/report/index.html" "$FER2013/guided-test.html"
}

for part in $PARTS; do
    "part_$part"
done
