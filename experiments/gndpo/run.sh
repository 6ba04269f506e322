exec bash "$(dirname "$0")/../table.sh" gndpo "$@"
