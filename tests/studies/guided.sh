#!/bin/sh
# Does attention guidance change where a model looks, which evidence it uses, and how accurate it is?
#
#   make study-guided                                all parts; FER2013 only where `data` holds it with masks
#   make study-guided PARTS="planted fer2013"        some parts: planted, combinations, transformers, fer2013
#   make study-guided PARTS=fer2013 EPOCHS=30        longer trainings on FER2013
#
# Lambda is chosen on val, by the rule of `fertool train --guide-weight 0,...`, and every lambda is measured there. Test
# is scored for the chosen lambda, beside lambda 0 and the placebo. Each sweep writes NAME-val.html and NAME-test.html
# (combinations: val only), and its figures to files of the same names that end in .json. Finished work is not repeated:
# a study that was stopped continues where it was.
set -eu

PARTS=${PARTS:-planted combinations transformers fer2013}
STUDY=${STUDY:-data/study-guided}
FER2013=${FER2013:-data}
EPOCHS=${EPOCHS:-6}
SEEDS=${SEEDS:-0-4}
FEW=2500 # synthetic faces: with more, or in a longer training, a CNN learns by itself that the mark misleads
OTHERS='gradcam occlusion@stride=8' # explainers that do not guide; the second covers 36 places per face

# sweep NAME LAMBDAS TRAINING-OPTIONS...: train every lambda; $trained is the record of the runs, $chosen the lambda that
# the rule chose, if any
sweep() {
    trained="$FERTOOL_WORKSPACE/$1.json" sweep_name=$1 lambdas=$2
    shift 2
    fertool train --name "$sweep_name" --guide-weight "$lambdas" "$@" --json >"$trained"
    chosen=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1])).get("chosen") or "")' "$trained")
    echo "$sweep_name: lambda ${chosen:-none} chosen on val"
}

# runs RECORD [LAMBDA...]: the --run options of all trained runs, or of those with these lambdas
runs() {
    python3 -c '
import json, sys
record, *lambdas = sys.argv[1:]
for run in json.load(open(record))["runs"]:
    if not lambdas or run["config"]["guide_weight"] in map(float, lambdas):
        print("--run", run["name"])' "$@"
}

# measure PAGE SPLIT EXPLAINER RUNS...: score the explainer that guided, those that did not, and the evidence that the
# network uses
measure() {
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

# --- 1. Planted truth: a mark in the background gives away 90% of train's labels, and says nothing in val and test

# marked_faces WORKSPACE COUNT
marked_faces() {
    export FERTOOL_WORKSPACE="$1"
    fertool prepare synthetic --count "$2" --spurious 0.9
    fertool masks
    cnn='--model cnn --epochs 12 --lr 1e-3 --seeds 0-2'
    gap='--model cnn-gap --epochs 24 --lr 3e-3 --seeds 0-2'
}

# planted NAME EXPLAINER LAMBDAS TRAINING-OPTIONS...; $placebo, if set, is the record of the runs with shuffled masks
planted() {
    name=$1 explainer=$2 lambdas=$3
    shift 3
    sweep "$name" "$lambdas" "$@"
    placebo=
    if [ -n "$chosen" ]; then
        placebo="$FERTOOL_WORKSPACE/$name-shuffled.json"
        fertool train --name "$name-shuffled" --guide-weight "$chosen" "$@" --guide-masks shuffled --json >"$placebo"
    fi
    placebo_runs=${placebo:+$(runs "$placebo")}
    measure "$name" val "$explainer" $(runs "$trained") $placebo_runs
    measure "$name" test "$explainer" $(runs "$trained" 0 $chosen) $placebo_runs
}

part_planted() {
    marked_faces "$STUDY" $FEW
    planted cnn gradcam-abs 0,1,3,10 $cnn --guide background
    planted gap gradcam-abs 0,1,3,10 $gap --guide background
}

# combination UNGUIDED NAME EXPLAINER TRAINING-OPTIONS...: a comparison that serves a choice uses val
combination() {
    name=$2 unguided="$FERTOOL_WORKSPACE/$1.json" guided="$FERTOOL_WORKSPACE/$2.json" explainer=$3
    shift 3
    fertool train --name "$name" --guide-weight 3,10 "$@" --json >"$guided"
    measure "$name" val "$explainer" $(runs "$unguided") $(runs "$guided")
}

# Heads, maps and forms of guidance: the default comes first
part_combinations() {
    marked_faces "$STUDY" $FEW
    fertool train --name cnn-unguided $cnn --json >"$STUDY/cnn-unguided.json"
    fertool train --name gap-unguided $gap --json >"$STUDY/gap-unguided.json"
    for head in cnn gap; do
        eval "options=\$$head"
        combination $head-unguided $head-abs gradcam-abs $options --guide background
        combination $head-unguided $head-relu gradcam $options --guide background --guide-map relu
        combination $head-unguided $head-plain gradcam $options --guide background-sum --guide-map relu # the plain formula
    done
    combination cnn-unguided cnn-signed gradcam-size $cnn --guide background --guide-map signed
    combination cnn-unguided cnn-sum gradcam-abs $cnn --guide background-sum
}

# transformer NAME TRAINING-OPTIONS...: one unguided network, and one guided by each of three attention maps and by
# Grad-CAM of the patches before any are mixed. Lambda is given and not chosen, so test may be scored
transformer() {
    network=$1 plain="$FERTOOL_WORKSPACE/$1-plain.json"
    shift
    fertool train --name "$network-plain" "$@" --json >"$plain"
    for explainer in attention rollout all-blocks gradcam; do
        name="$network-$explainer" guided="$FERTOOL_WORKSPACE/$network-$explainer.json"
        fertool train --name "$name" "$@" --guide background --guide-weight 10 --guide-explainer "$explainer" \
            --json >"$guided"
        [ "$explainer" != gradcam ] || explainer=gradcam-abs # the explainer of the map that guides
        measure "$name" test "$explainer" $(runs "$plain") $(runs "$guided")
    done
}

# Trained from scratch, so all blocks share one learning rate; without augmentation, in small batches, on many faces: from
# few a transformer learns nothing about the face. The first network learns in minutes on a CPU; the second, the smallest
# of timm's, takes hours
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

# --- 2. FER2013: every lambda, with each face's own mask and with another face's

part_fer2013() {
    if [ ! -e "$FER2013/masks/test.npz" ]; then
        echo "no masks in $FER2013: part fer2013 is skipped; run 'fertool prepare' and 'fertool masks' first"
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
    measure "$name" val gradcam-abs "$@"

    set -- $(runs "$own" 0 $best) ${best:+$(runs "$shuffled" "$best")}
    fertool score --split test "$@" --target label --suite robustness --precision auto
    measure "$name" test gradcam-abs "$@"
}

for part in $PARTS; do
    "part_$part"
done
