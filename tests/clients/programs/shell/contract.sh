# What an application has, for the programs beside this file. They are run as
# `bash PROGRAM URL TOKEN_FILE LAST_ID`, and say what they hear in lines of JSON.

url=$1 token_file=$2 last_id=$3

get_token() {
    cat "$token_file"
}

show() { # TYPE DATA; the data are JSON, whatever else they are
    printf '{"type": "%s", "json": %s}\n' "$1" "$2"
}

sign_in() {
    echo '{"refused": true}'
}
