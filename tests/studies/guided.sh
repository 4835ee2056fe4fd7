#!/bin/sh
# Does telling a model to look at the face change where it looks, what it uses, and how well it does?
#
#   make study-guided                            the planted truth; FER2013 too where `data` holds it with masks
#   make study-guided EPOCHS=30 SEEDS=0-4        longer trainings on FER2013
#
# Lambda is chosen on val, by the rule of `fertool train --guide-weight 0,...`; test is looked at for the chosen one,
# beside lambda 0 and the placebo. What is done is left alone: a study that was stopped goes on where it was.
set -eu

STUDY=${STUDY:-data/study-guided}
FER2013=${FER2013:-data}
EPOCHS=${EPOCHS:-6}
SEEDS=${SEEDS:-0-4}

# sweep NAME LAMBDAS TRAINING-OPTIONS...: every lambda on val; $chosen is the one that the rule takes, if any
sweep() {
    name=$1 lambdas=$2
    shift 2
    fertool train --name "$name" --guide background --guide-weight "$lambdas" "$@"
    chosen=$(fertool train --name "$name" --guide background --guide-weight "$lambdas" "$@" --json |
        sed -n 's/.*"chosen": \([0-9][0-9.]*\).*/\1/p')
    chosen=${chosen%.0}
}

# runs NAME-PATTERN...: the options that name these runs
runs() {
    for pattern in "$@"; do
        (cd "$FERTOOL_WORKSPACE/runs" && ls -d $pattern | sed 's/^/--run /')
    done
}

# measured SPLIT RUN-OPTIONS...: maps of the explainer that guided and of one that did not, and what the network uses
measured() {
    split=$1
    shift
    fertool score --split "$split" "$@" --target label --suite classification --suite attention \
        --suite faithfulness --suite causal --fill mean
    fertool score --split "$split" "$@" --target label --suite attention --explainer occlusion
}

# --- 1. Planted truth: a mark in the background gives 90% of train's labels away, and says nothing in val and test

export FERTOOL_WORKSPACE="$STUDY"
fertool prepare synthetic --count 5000 --spurious 0.9
fertool masks

planted() { # NAME LAMBDAS SEEDS TRAINING-OPTIONS...
    name=$1 lambdas=$2 seeds=$3
    shift 3
    sweep "$name" "$lambdas" --seeds "$seeds" "$@"
    measured test $(runs "$name-g0-s*" ${chosen:+"$name-g$chosen-s*"})
}

planted cnn 0,1,3,10 0-2 --model cnn --epochs 12 --lr 1e-3
planted cnn-relu 0,1,3,10 0-2 --model cnn --epochs 12 --lr 1e-3 --guide-map relu
planted cnn-gap 0,1,3,10 0-2 --model cnn-gap --epochs 24 --lr 3e-3
for explainer in attention rollout all-blocks; do
    planted "vit-$explainer" 0,3 0-1 --model vit_tiny_patch16_224 --weights none --image-size 96 --epochs 20 \
        --guide-explainer "$explainer"
done
for explainer in attention rollout; do
    fertool score --suite attention --explainer "$explainer" --target label
done
fertool report

# --- 2. FER2013: every lambda on val, with each face's own masks and with another face's; the chosen one on test

if [ ! -e "$FER2013/masks/test.npz" ]; then
    echo "no masks in $FER2013: FER2013 is left out ('fertool prepare' and 'fertool masks' come first)"
    exit 0
fi
export FERTOOL_WORKSPACE="$FER2013"
sweep guided-shuffled 0.1,0.3,1,3 --model cnn --epochs "$EPOCHS" --lr 1e-3 --seeds "$SEEDS" --guide-masks shuffled
sweep guided 0,0.1,0.3,1,3 --model cnn --epochs "$EPOCHS" --lr 1e-3 --seeds "$SEEDS"
measured val $(runs 'guided-*')
fertool report --split val $(runs 'guided-*')
cp "$FER2013/report/index.html" "$FER2013/report/guided-val.html"
on_test=$(runs 'guided-g0-s*' ${chosen:+"guided-g$chosen-s*" "guided-shuffled-g$chosen-s*"})
measured test $on_test
fertool score $on_test --target label --suite robustness
fertool report $on_test
