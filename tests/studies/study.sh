#!/bin/sh
# Which parts of the face networks rely on, by pretraining, architecture and guidance: trainings, scores and the report.
#
#   make study                                   STUDY=small: two cores, hours; the estimate comes first
#   make study CONDITIONS="cnn-strong vit-small" some of the conditions; what is finished stays in the report
#   make study LANES=4                           four conditions side by side, each with a quarter of the cores
#   make study STUDY=full                        GPUs: more networks, five seeds, learning curves
#   sh tests/studies/study.sh --dry-run          what would run, what is done, and how long the rest takes here
#
# SOURCE is FER2013 as `fertool prepare` takes it; faces that FERTOOL_WORKSPACE (data/study) already holds
# stay. On several GPUs TRAIN='torchrun --nproc-per-node 4 -m fertool train'.
# SEEDS and FACES, those of all suites, may be fewer: SEEDS=0 FACES=100. Finished work is not repeated: a study that was
# stopped goes on where it was. Every condition is trained and scored by its first explainer before the others follow.
# Two processes of one thread waste less of two cores than one process of two does: the small study has LANES=2.
set -eu

STUDY=${STUDY:-small}
SOURCE=${SOURCE:-fer2013.zip}
CONDITIONS=${CONDITIONS:-}
export FERTOOL_WORKSPACE=${FERTOOL_WORKSPACE:-data/study}
here=$(cd "$(dirname "$0")" && pwd)
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}" # for small_vit.py
TRAIN=${TRAIN:-fertool train}

CNN='gradcam gradcam++ hirescam gradcam-abs guided-backprop guided-gradcam'
VIT='rollout attention all-blocks attention-gradcam gradcam'
OF_MAPS=attention,faithfulness,causal-agreement,sanity,robustness-attention
OF_PIXELS=attention,faithfulness,causal-agreement
OF_ANY='input-gradient smoothgrad integrated-gradients occlusion rise'
case $STUDY in
small) SEEDS=${SEEDS:-0-2} FACES=${FACES:-200} FEW=30 LANES=${LANES:-2} GUIDED_EPOCHS=6 ;;
full) SEEDS=${SEEDS:-0-4} FACES=${FACES:-1000000} FEW=1000 LANES=${LANES:-1} GUIDED_EPOCHS=30 ;;
*) echo "STUDY=$STUDY: small or full" >&2 && exit 1 ;;
esac
short() { [ "$STUDY" = full ] || echo "--epochs $1"; } # the full study trains as long as the recipes say

# Calls `$step NAME EXPLAINERS TRAINING-OPTIONS...` for every condition
conditions() {
    condition cnn "$CNN" --model cnn
    condition cnn-strong "$CNN" --model cnn --recipe strong $(short 12)
    condition resnet48 "$CNN" --model resnet48 $(short 10)
    pretrained tf_efficientnet_lite0 $([ "$STUDY" = full ] && echo 96 || echo 64) 6
    pretrained dlibface 112 4
    condition vit-small "$VIT" --model small_vit:face_vit --image-size 48 --augment light --optimizer adamw --lr 1e-3 \
        --schedule cosine --warmup-epochs 1 --weight-decay 0.05 --clip 1 --epochs $([ "$STUDY" = full ] && echo 100 || echo 30)
    condition multiscale "$CNN" --model multiscale:cnn --recipe strong $(short 12)
    [ "$STUDY" = small ] || more_conditions
}

# NETWORK IMAGE-SIZE EPOCHS: from scratch, with a frozen backbone, fine-tuned
pretrained() {
    input="--model $1 --image-size $2"
    condition $1-scratch "$CNN" $input $(short $3) --weights none
    # faces that are not augmented pass through the frozen backbone once
    condition $1-frozen "$CNN" $input --unfreeze none --augment none --epochs 30 --lr 2e-3
    condition $1 "$CNN" $input $(short $3)
}

explainers_of() { [ "$1" = vit ] && echo "$VIT" || echo "$CNN"; }
more_conditions() {
    for network in resnet50 efficientnet_b0 vggface vggface2 vit; do
        explainers=$(explainers_of $network)
        condition $network "$explainers" --model $network
        condition $network-scratch "$explainers" --model $network --weights none
    done
    for fraction in 0.1 0.3; do
        for network in resnet50 vggface2 vit; do
            explainers=$(explainers_of $network)
            condition $network-$fraction "$explainers" --model $network --train-fraction $fraction
            condition $network-scratch-$fraction "$explainers" --model $network --weights none --train-fraction $fraction
        done
    done
    condition resnet48-long "$CNN" --model resnet48 --epochs 150
}

condition() { ! wanted "$1" || $step "$@"; }
wanted() { [ -z "$CONDITIONS" ] || case " $CONDITIONS " in *" $1 "*) ;; *) false ;; esac }

# No name may be misspelt: it would be left out in silence
known() { names="$names $1"; }
names=guided wanted_names=$CONDITIONS CONDITIONS= # guided first: it takes longest
step=known conditions
CONDITIONS=$wanted_names
for name in $CONDITIONS; do
    case " $names " in
    *" $name "*) ;;
    *) echo "CONDITIONS: no condition '$name' in STUDY=$STUDY; there are $names" >&2 && exit 1 ;;
    esac
done

# STEP: of every condition, of LANES conditions at once
side_by_side() {
    for name in ${CONDITIONS:-$names}; do echo "$name"; done | xargs -n 1 -P "$LANES" sh "$0" in-a-lane "$1"
}

# STEP CONDITION: what it says goes to a file, for others speak at the same time
in_a_lane() {
    threads=$(($(getconf _NPROCESSORS_ONLN) / LANES)) said=$FERTOOL_WORKSPACE/study-$2.log
    export CONDITIONS="$2" OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((threads > 1 ? threads : 1))}"
    echo "$(date +%T) $2: $1 ($said)"
    sh "$0" "$1" >>"$said" 2>&1 && return
    echo "$2: $1 failed; the end of $said says why" >&2
    return 1
}

train_and_score() {
    train "$@"
    score "$1" "$2"
}

train() {
    name=$1
    shift 2
    $TRAIN --name "$name" --seeds "$SEEDS" "$@"
}

# Lambda is chosen on val, and where the rule takes none, 1 is scored; the placebo has the same, and masks of other faces
guided="--model cnn --lr 1e-3 --epochs $GUIDED_EPOCHS --guide background"
record="$FERTOOL_WORKSPACE/guided.json"
chosen() { python -c 'import json, sys; print("%g" % (json.load(open(sys.argv[1])).get("chosen") or 1))' "$record"; }
train_guided() {
    $TRAIN --name guided --seeds "$SEEDS" $guided --guide-weight 0,0.1,0.3,1,3 --json >"$record"
    train placebo '' $guided --guide-weight "$(chosen)" --guide-masks shuffled
}
each_guided() {
    for run in guided-g0 "guided-g$(chosen)" placebo; do
        "$1" "$run" "gradcam-abs gradcam"
    done
}

# By the first explainer: its maps of all faces, every suite on a sample. Grad-CAM, which all networks have, is on all
# faces too: conditions are compared on the faces that all of them have maps of.
score() {
    run=$1 first=${2%% *}
    scored --explainer "$first" --suite classification,attention
    [ "$first" = gradcam ] || scored --explainer gradcam --suite attention
    scored --explainer gradcam --suite attention --grid 7
    scored --explainer "$first" --suite all --faces "$FACES"
}

# By the other explainers, on fewer faces. Maps of pixels are slow: rise takes 400 forward passes for one, and those of
# randomised networks and of spoilt faces, which sanity and robustness-attention need, would take most of the study.
score_by_others() {
    run=$1
    for other in ${2#* }; do
        scored --explainer "$other" --suite $OF_MAPS --faces "$FEW"
    done
    for other in $OF_ANY; do
        scored --explainer "$other" --suite $OF_PIXELS --faces "$FEW"
    done
}

scored() {
    fertool score --run "$run-s[0-9]*" --target label "$@"
}

left=
plan() {
    name=$1 explainers=$2
    shift 2
    line=$(python "$here/estimate.py" "$name" --seeds "$SEEDS" --faces "$FACES" --few "$FEW" \
        --explainers "$explainers" --suites "$OF_MAPS" --of-any "$OF_ANY" --suites-of-any "$OF_PIXELS" "$@")
    echo "$line"
    left="$left $line"
}
hours_left() {
    echo "$left" | awk '{ while (++i <= NF) if ($i == "min") minutes += $(i - 1); printf "%.1f\n", minutes / 60 }'
}

# Two lambdas are scored, 0 and the one that will be chosen
plan_guided() {
    scored="0 $([ -e "$record" ] && chosen || echo 0.1)"
    for weight in 0 0.1 0.3 1 3; do
        case " $scored " in
        *" $weight "*) plan guided-g$weight "gradcam-abs gradcam" $guided --guide-weight $weight ;;
        *) plan guided-g$weight '' $guided --guide-weight $weight ;;
        esac
    done
    plan placebo "gradcam-abs gradcam" $guided --guide-weight 1 --guide-masks shuffled
}

case ${1:-} in
in-a-lane)
    in_a_lane "$2" "$3"
    ;;
train-and-score)
    step=train_and_score conditions
    if wanted guided; then
        train_guided
        each_guided score
    fi
    ;;
other-explainers)
    step=score_by_others conditions
    if wanted guided; then each_guided score_by_others; fi
    ;;
--dry-run)
    step=plan conditions
    if wanted guided; then plan_guided; fi
    echo "in all: $(hours_left) h left, one after another"
    ;;
*)
    [ -e "$FERTOOL_WORKSPACE/dataset.json" ] || fertool prepare "$SOURCE"
    fertool masks
    side_by_side train-and-score
    fertool report
    side_by_side other-explainers
    fertool report
    ;;
esac
