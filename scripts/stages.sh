# Sourced by scripts/check and scripts/test: every stage runs, whatever failed before it.

failed=()

stage() { # NAME COMMAND...
    echo "== $1"
    "${@:2}" || failed+=("$1")
}

check_stages() {
    stage format .venv/bin/ruff format --check --quiet .
    stage lint .venv/bin/ruff check --quiet .
    stage types .venv/bin/mypy
}

finish() {
    ((${#failed[@]} == 0)) && echo "== all stages passed" && exit
    echo "== failed: ${failed[*]}" >&2
    exit 1
}
