#!/usr/bin/env bash
# The comparisons of README.md, each a sweep below runs/digits/. A sweep started again skips what
# is done. `bash experiments/digits/run.sh` runs all, `... run.sh rates vgs` some; JOBS=2 at a time.
set -eu
cd "$(dirname "$0")/../.."
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
[ -x .venv/bin/gndpo-train ] && PATH="$PWD/.venv/bin:$PATH"
JOBS=${JOBS:-2}

sweep() {
  local name=$1
  shift
  gndpo-train -m "sweep=digits/$name" logger=none hydra/launcher=joblib \
    "hydra.launcher.n_jobs=$JOBS" "$@"
}

# Five strategies as in `make demo`, two seeds more.
main() {
  sweep main experiment=demo seed=0,1,2,3,4 advantage=raw_kl,full_kl,gndpo,trust_region,decomposed
}

# Where does a learning rate break which strategy? Plain SGD, no clipping.
rates() {
  sweep rates experiment=stress steps=60 eval.every=20 eval.validation=100 eval.test=200 eval.k=1 \
    optimizer.lr=0.01,0.03,0.1,0.3,1.0 seed=0,1,2 \
    advantage=raw_kl,full_kl,gndpo,trust_region,decomposed
}

# Visual gradient steering: the weights of its two terms.
vgs() {
  sweep vgs advantage=decomposed budget=survey seed=0,1,2 \
    advantage.gamma=0,2,4 advantage.lam=0,0.01,0.1
}

# What lies outside the trust region: forward KL, nothing, clipped, or imitation everywhere.
trust() {
  sweep trust budget=survey seed=0,1,2,3,4 \
    advantage=trust_region,tropd/mask,tropd/clip,tropd/fkl_all,tropd/release
}

# The parts of GNDPO, one by one, where the size of a step matters.
ladder() {
  sweep ladder experiment=gndpo_ladder seed=0,1,2,3,4
}

# Students that have seen fewer and more images: a larger and a smaller gap to the teacher.
gap() {
  sweep gap budget=survey seed=0,1,2 model.pair.student.images=20,40,160 \
    advantage=raw_kl,full_kl,gndpo
}

# Every strategy and every method.
methods() {
  sweep strategies budget=survey seed=0,1,2,3,4 'advantage=glob(*)'
  sweep methods budget=survey seed=0,1,2,3,4 'experiment=glob(methods/*)'
}

for part in "${@:-main rates vgs trust ladder gap methods}"; do
  for name in $part; do "$name"; done
done
