#!/bin/sh
# Does telling a model to look at the face change where it looks, what it uses, and how well it does?
#
#   make study-guided                                every part; FER2013 where `data` holds it with masks
#   make study-guided PARTS="planted fer2013"        some: planted, combinations, transformers, fer2013
#   make study-guided PARTS=fer2013 EPOCHS=30        longer trainings on FER2013
#
# Lambda is chosen on val, by the rule of `fertool train --guide-weight 0,...`, and every lambda is measured there; test
# is looked at for the chosen one, beside lambda 0 and the placebo. Each sweep leaves NAME-val.html and NAME-test.html
# (combinations that of val alone), and its figures in files of these names that end in .json. What is done is left
# alone: a study that was stopped goes on where it was.
set -eu

PARTS=${PARTS:-planted combinations transformers fer2013}
STUDY=${STUDY:-data/study-guided}
FER2013=${FER2013:-data}
EPOCHS=${EPOCHS:-6}
SEEDS=${SEEDS:-0-4}
FEW=2500 # synthetic faces: of more, or in a longer training, a CNN finds out by itself that the mark misleads
OTHERS='gradcam occlusion@stride=8' # explainers that do not guide, the second by 36 places a face

# sweep NAME LAMBDAS TRAINING-OPTIONS...: trains every lambda; $trained says what, $chosen which the rule takes, if any
sweep() {
    trained="$FERTOOL_WORKSPACE/$1.json" called=$1 lambdas=$2
    shift 2
    fertool train --name "$called" --guide-weight "$lambdas" "$@" --json >"$trained"
    chosen=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1])).get("chosen") or "")' "$trained")
    echo "$called: lambda ${chosen:-none} chosen on val"
}

# runs TRAINED [LAMBDA...]: the options that name what was trained, all of it or with these lambdas
runs() {
    python3 -c '
import json, sys
place, *lambdas = sys.argv[1:]
for run in json.load(open(place))["runs"]:
    if not lambdas or run["config"]["guide_weight"] in map(float, lambdas):
        print("--run", run["name"])' "$@"
}

# measured PAGE SPLIT EXPLAINER RUNS...: where the map lies that guided, and those that did not; what the network uses
measured() {
    page="$FERTOOL_WORKSPACE/$1-$2" split=$2 explainer=$3
    shift 3
    for other in $OTHERS; do
        fertool score --split "$split" "$@" --target label --explainer "$other" --precision auto --suite attention
    done
    fertool score --split "$split" "$@" --target label --explainer "$explainer" --precision auto --fill mean --no-nulls \
        --suite classification --suite attention --suite faithfulness --suite causal --json >"$page.json"
    fertool report --split "$split" "$@"
    cp "$FERTOOL_WORKSPACE/report/index.html" "$page.html"
}

# --- 1. Planted truth: a mark in the background gives 90% of train's labels away, and says nothing in val and test

# marked_faces WORKSPACE COUNT
marked_faces() {
    export FERTOOL_WORKSPACE="$1"
    fertool prepare synthetic --count "$2" --spurious 0.9
    fertool masks
    cnn='--model cnn --epochs 12 --lr 1e-3 --seeds 0-2'
    gap='--model cnn-gap --epochs 24 --lr 3e-3 --seeds 0-2'
}

# planted NAME EXPLAINER LAMBDAS TRAINING-OPTIONS...; $placebo, where there is one, is what shuffled masks trained
planted() {
    name=$1 explainer=$2 lambdas=$3
    shift 3
    sweep "$name" "$lambdas" "$@"
    placebo=
    if [ -n "$chosen" ]; then
        placebo="$FERTOOL_WORKSPACE/$name-shuffled.json"
        fertool train --name "$name-shuffled" --guide-weight "$chosen" "$@" --guide-masks shuffled --json >"$placebo"
    fi
    beside=${placebo:+$(runs "$placebo")}
    measured "$name" val "$explainer" $(runs "$trained") $beside
    measured "$name" test "$explainer" $(runs "$trained" 0 $chosen) $beside
}

part_planted() {
    marked_faces "$STUDY" $FEW
    planted cnn gradcam-abs 0,1,3,10 $cnn --guide background
    planted gap gradcam-abs 0,1,3,10 $gap --guide background
}

# combination UNGUIDED NAME EXPLAINER TRAINING-OPTIONS...: what is compared in order to choose is compared on val
combination() {
    name=$2 unguided="$FERTOOL_WORKSPACE/$1.json" guided="$FERTOOL_WORKSPACE/$2.json" explainer=$3
    shift 3
    fertool train --name "$name" --guide-weight 3,10 "$@" --json >"$guided"
    measured "$name" val "$explainer" $(runs "$unguided") $(runs "$guided")
}

# Which head, map and form move the evidence: the default first
part_combinations() {
    marked_faces "$STUDY" $FEW
    fertool train --name cnn-unguided $cnn --json >"$STUDY/cnn-unguided.json"
    fertool train --name gap-unguided $gap --json >"$STUDY/gap-unguided.json"
    for head in cnn gap; do
        eval "options=\$$head"
        combination $head-unguided $head-abs gradcam-abs $options --guide background
        combination $head-unguided $head-relu gradcam $options --guide background --guide-map relu
        combination $head-unguided $head-plain gradcam $options --guide background-sum --guide-map relu # as it is written
    done
    combination cnn-unguided cnn-signed gradcam-size $cnn --guide background --guide-map signed
    combination cnn-unguided cnn-sum gradcam-abs $cnn --guide background-sum
}

# transformer NAME TRAINING-OPTIONS...: guided by its attention, in one of three ways, or by the Grad-CAM of the patches
# before any are mixed; unguided it is one network. Lambda is not chosen but given, so test is where it is measured
transformer() {
    network=$1 plain="$FERTOOL_WORKSPACE/$1-plain.json"
    shift
    fertool train --name "$network-plain" "$@" --json >"$plain"
    for explainer in attention rollout all-blocks gradcam; do
        name="$network-$explainer" guided="$FERTOOL_WORKSPACE/$network-$explainer.json"
        fertool train --name "$name" "$@" --guide background --guide-weight 10 --guide-explainer "$explainer" \
            --json >"$guided"
        [ "$explainer" != gradcam ] || explainer=gradcam-abs # the map that guides
        measured "$name" test "$explainer" $(runs "$plain") $(runs "$guided")
    done
}

# From scratch, so all blocks learn at one rate; of faces as they are drawn, in small batches, and of many: of few a
# transformer learns nothing of the face. One that learns in minutes on a CPU, and the smallest of timm's, which takes hours
part_transformers() (
    marked_faces "$STUDY/transformers" 12500
    OTHERS=${OTHERS#gradcam }
    here=$(dirname "$0")
    export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}" # for small_vit.py
    recipe='--weights none --cam-layer norm_pre --augment none --epochs 8 --batch-size 32 --optimizer adamw --lr 1e-3'
    recipe="$recipe --layer-decay 1 --schedule cosine --warmup-epochs 1 --weight-decay 0.05 --clip 1"
    transformer small --model small_vit:small_vit --image-size 48 $recipe --seeds 0-2
    transformer tiny --model vit_tiny_patch16_224 --image-size 64 $recipe --seeds 0-0
)

# --- 2. FER2013: every lambda with each face's own masks and with another face's

part_fer2013() {
    if [ ! -e "$FER2013/masks/test.npz" ]; then
        echo "no masks in $FER2013: FER2013 is left out ('fertool prepare' and 'fertool masks' come first)"
        return
    fi
    export FERTOOL_WORKSPACE="$FER2013"
    name="guided-e$EPOCHS"
    cnn="--model cnn --epochs $EPOCHS --lr 1e-3 --seeds $SEEDS --guide background"
    sweep "$name" 0,0.1,0.3,1,3 $cnn
    own=$trained best=$chosen
    sweep "$name-shuffled" 0.1,0.3,1,3 $cnn --guide-masks shuffled
    shuffled=$trained
    set -- $(runs "$own") $(runs "$shuffled")
    fertool score --split val "$@" --target label --suite robustness --precision auto
    measured "$name" val gradcam-abs "$@"

    set -- $(runs "$own" 0 $best) ${best:+$(runs "$shuffled" "$best")}
    fertool score --split test "$@" --target label --suite robustness --precision auto
    measured "$name" test gradcam-abs "$@"
}

for part in $PARTS; do
    "part_$part"
done
