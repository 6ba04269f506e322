# What is missing of a paper's table, then the table: bash experiments/table.sh vgs main [overrides]
# Started again it goes on where it stopped. DRY=1 prints the commands and runs none.
set -euo pipefail
cd "$(dirname "$0")/.."
paper=$1
table=$paper/${2:?which table? its README names them}
runs=[]
if compgen -G "runs/$paper/*/run.json" > /dev/null; then runs="[runs/$paper]"; fi
commands=$(gndpo-table table="$table" runs="$runs" plan=commands "${@:3}")
printf '%s\n' "$commands"
if [ -n "${DRY:-}" ]; then exit; fi
bash -euc "$commands"
gndpo-table table="$table" runs="[runs/$paper]" out="runs/$paper/tables" "${@:3}"
