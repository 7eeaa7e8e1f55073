source "${BASH_SOURCE[0]%/*}/contract.sh"

# In docs/clients.rst:
while :; do
    exec 3< <(curl --silent --no-buffer --fail --write-out 'status: %{http_code}\n' \
        --header "Authorization: Bearer $(get_token)" \
        --header "Last-Event-ID: $last_id" "$url")
    type=message data= id=$last_id status=
    while IFS= read -r line <&3; do
        case $line in
            'event: '*) type=${line#event: } ;;
            'data: '*) data=${line#data: } ;;
            'id: '*) id=${line#id: } ;;
            'status: '*) status=${line#status: } ;;
            '')
                [[ -z $data ]] || show "$type" "$data"
                last_id=$id type=message data=
                ;;
        esac
    done
    case $status in 401 | 403) break ;; esac
    sleep $((RANDOM % 4 + 1))
done
# Until here.
sign_in
