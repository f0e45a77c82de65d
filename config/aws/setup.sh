#!/bin/sh
# Create policy, thing and certificate for one daemon on AWS, and enable the event types.
#
#   sh config/aws/setup.sh [--reconcile] [--undo] [CLIENT_ID [DIRECTORY]]
#
# CLIENT_ID (presenced) is the mqtt.client_id of the daemon and the name of policy and thing. DIRECTORY
# (/etc/presenced/certs) receives certificate, private key and Amazon's root certificate. Account,
# partition and region are those of the AWS CLI.
#
# --reconcile also creates a role alias with its role, by which the certificate may ask AWS who is
# connected, and prints the settings for it.
#
# What exists is kept. The file DIRECTORY/created lists what the script creates. If a call fails, run
# the same command again: it continues. --undo removes what is listed, and nothing else.
set -eu

here=$(cd "$(dirname "$0")" && pwd)

die() {
    echo "setup.sh: $*" >&2
    exit 1
}

# Call AWS; the status is 1 if what the call names does not exist. Other errors end the script.
call() {
    if answer=$(aws "$@" 2>&1); then return 0; fi
    case $answer in
    *ResourceNotFoundException* | *NoSuchEntity*) return 1 ;;
    esac
    die "$answer"
}

iot() {
    call iot "$@"
}

# Delete something, which AWS refuses for some seconds after something was detached.
delete() {
    for _ in 1 2 3 4 5; do
        if answer=$(aws "$@" 2>&1); then return 0; fi
        case $answer in
        *ResourceNotFoundException* | *NoSuchEntity*) return 0 ;;
        *DeleteConflictException* | *"still attached"*) sleep 2 ;;
        *) break ;;
        esac
    done
    die "$answer"
}

listed() {
    grep -qxF -- "$1" "$created"
}

# List something before it is created: the script may end before the answer comes.
list() {
    listed "$1" || echo "$1" >>"$created"
}

unlist() {
    grep -vxF -- "$1" "$created" >"$created.new" || true
    mv "$created.new" "$created"
}

keep() {
    if listed "$1"; then
        echo "exists:   $1, created by an earlier run"
    else
        echo "exists:   $1, which --undo will keep"
    fi
}

prepare_directory() {
    if [ -e "$created" ]; then
        ! listed undo || die "--undo was not completed: first run it again"
        return
    fi
    ! [ -e "$key" ] || die "$key is there already, and was not created by this script"
    if [ -d "$directory" ]; then
        echo "$owner" >"$created"
    else
        mkdir -p "$directory"
        printf '%s\n' "$owner" directory >"$created"
    fi
}

# Print a policy of this directory for this account and client ID.
document() {
    sed "s/arn:aws:iot:REGION:ACCOUNT:/arn:$partition:iot:$region:$account:/
         s/client\/presenced/client\/$id/
         s/rolealias\/presenced/rolealias\/$id/" "$here/$1"
}

create_policy() {
    if iot get-policy --policy-name "$1"; then
        keep "policy $1"
        return
    fi
    list "policy $1"
    aws iot create-policy --policy-name "$1" --policy-document "$(document "$2")" >/dev/null
    echo "created:  policy $1"
}

create_thing() {
    if iot describe-thing --thing-name "$id"; then
        keep "thing $id"
        return
    fi
    list "thing $id"
    aws iot create-thing --thing-name "$id" >/dev/null
    echo "created:  thing $id"
}

# The private key comes in the answer and cannot be had again. `arn` has the ARN once it is there.
create_certificate() {
    if [ -s "$directory/arn" ]; then
        arn=$(cat "$directory/arn")
        [ -s "$key" ] || die "$key is missing: run --undo, then start again"
        iot describe-certificate --certificate-id "${arn##*/}" ||
            die "$arn was deleted: run --undo, then start again"
        keep certificate
    else
        ! [ -e "$key" ] ||
            die "the ARN of the certificate of $key is not known: run --undo, then start again"
        list certificate
        (
            umask 077
            aws iot create-keys-and-certificate --set-as-active \
                --certificate-pem-outfile "$directory/certificate.pem.crt" \
                --private-key-outfile "$key" --query certificateArn --output text >"$directory/arn"
        )
        arn=$(cat "$directory/arn")
        echo "created:  certificate $arn in $directory"
    fi
    grep -q '^key ' "$created" || list "key $(cksum <"$key")"
    chmod 644 "$directory/certificate.pem.crt"
    # What is attached already may be attached again.
    aws iot attach-policy --policy-name "$id" --target "$arn"
    aws iot attach-thing-principal --thing-name "$id" --principal "$arn"
    echo "attached: policy $id and thing $id to the certificate"
}

fetch_root_certificate() {
    root=$directory/AmazonRootCA1.pem
    if [ -e "$root" ]; then
        keep AmazonRootCA1.pem
        return
    fi
    list AmazonRootCA1.pem
    curl -fsSo "$root.new" https://www.amazontrust.com/repository/AmazonRootCA1.pem
    chmod 644 "$root.new"
    mv "$root.new" "$root"
    echo "created:  $root"
}

enable_events() {
    types=$(sed -n 's/^ *"\([A-Z_]*\)".*/\1/p' "$here/event-configurations.json")
    query=$(echo "$types" | sed 's/$/.Enabled/' | paste -sd , -)
    enabled=$(aws iot describe-event-configurations --query "eventConfigurations.[$query]" \
        --output text)
    # shellcheck disable=SC2086 # one word for each type
    set -- $enabled
    disabled=
    for type in $types; do
        [ "${1-}" = True ] || disabled="$disabled $type"
        [ $# = 0 ] || shift
    done
    if [ -z "$disabled" ]; then
        echo "exists:   all event types are enabled"
        return
    fi
    for type in $disabled; do list "event type $type"; done
    aws iot update-event-configurations \
        --event-configurations "file://$here/event-configurations.json"
    echo "enabled: $disabled"
}

create_role() {
    if call iam get-role --role-name "$role"; then
        keep "role $role"
        listed "role $role" || return 0
    else
        list "role $role"
        aws iam create-role --role-name "$role" \
            --assume-role-policy-document "file://$here/role-trust.json" >/dev/null
        echo "created:  role $role"
    fi
    # An earlier run may have ended before it.
    aws iam put-role-policy --role-name "$role" --policy-name presenced \
        --policy-document "$(document role-policy.json)"
}

create_role_alias() {
    if iot describe-role-alias --role-alias "$id"; then
        keep "role alias $id"
        return
    fi
    role_arn=$(aws iam get-role --role-name "$role" --query Role.Arn --output text)
    list "role alias $id"
    aws iot create-role-alias --role-alias "$id" --role-arn "$role_arn" >/dev/null
    echo "created:  role alias $id"
}

create_reconcile() {
    list reconcile
    create_role
    create_role_alias
    create_policy "$id-reconcile" role-alias-policy.json
    aws iot attach-policy --policy-name "$id-reconcile" --target "$arn"
    echo "attached: policy $id-reconcile to the certificate"
    endpoint=$(aws iot describe-endpoint --endpoint-type iot:CredentialProvider \
        --query endpointAddress --output text)
}

print_settings() {
    printf '%s\n' "Settings for presenced.yaml:" "aws:" "  role_alias: $id" \
        "  credentials_endpoint: $endpoint" "  thing_name: $id" "reconcile:" "  enabled: true"
}

remove_certificate() {
    listed certificate || return 0
    arn=$(cat "$directory/arn" 2>/dev/null || true)
    if [ -n "$arn" ]; then
        iot detach-policy --policy-name "$id" --target "$arn" || true
        ! listed reconcile ||
            iot detach-policy --policy-name "$id-reconcile" --target "$arn" || true
        iot detach-thing-principal --thing-name "$id" --principal "$arn" || true
        iot update-certificate --certificate-id "${arn##*/}" --new-status INACTIVE || true
        delete iot delete-certificate --certificate-id "${arn##*/}"
        echo "removed:  certificate $arn"
    elif [ -e "$key" ]; then
        echo "The ARN of the certificate is not known: delete it in the AWS console" >&2
    fi
    if [ -e "$key" ] && grep -q '^key ' "$created" && ! listed "key $(cksum <"$key")"; then
        echo "kept:     $key and its certificate, which replaced those created"
    else
        rm -f "$key" "$directory/certificate.pem.crt"
    fi
}

# Print the other users of something; a certificate just detached may still be listed.
other_users() {
    users=$(aws iot "$@" --output text)
    for user in $users; do
        [ "$user" = None ] || [ "$user" = "${arn-}" ] || echo "$user"
    done
}

remove_policy() {
    listed "policy $1" || return 0
    if iot get-policy --policy-name "$1"; then
        users=$(other_users list-targets-for-policy --policy-name "$1" --query targets)
        if [ -n "$users" ]; then
            echo "kept:     policy $1, which is attached to $users"
        else
            delete iot delete-policy --policy-name "$1"
            echo "removed:  policy $1"
        fi
    fi
    unlist "policy $1"
}

# Certificates that have the policy need the role alias, which needs the role.
remove_role() {
    if ! listed "role alias $id" && ! listed "role $role"; then return 0; fi
    if iot get-policy --policy-name "$id-reconcile"; then
        echo "kept:     role $role, because policy $id-reconcile was kept"
        unlist "role alias $id"
        unlist "role $role"
        return
    fi
    if listed "role alias $id"; then
        delete iot delete-role-alias --role-alias "$id"
        unlist "role alias $id"
        echo "removed:  role alias $id"
    fi
    if listed "role $role"; then
        delete iam delete-role-policy --role-name "$role" --policy-name presenced
        delete iam delete-role --role-name "$role"
        unlist "role $role"
        echo "removed:  role $role"
    fi
}

remove_thing() {
    listed "thing $id" || return 0
    if iot describe-thing --thing-name "$id"; then
        users=$(other_users list-thing-principals --thing-name "$id" --query principals)
        if [ -n "$users" ]; then
            echo "kept:     thing $id, which is attached to $users"
        else
            delete iot delete-thing --thing-name "$id"
            echo "removed:  thing $id"
        fi
    fi
    unlist "thing $id"
}

disable_events() {
    types=$(sed -n 's/^event type //p' "$created")
    [ -n "$types" ] || return 0
    events=$(echo "$types" | sed 's/.*/"&": {"Enabled": false}/' | paste -sd , -)
    aws iot update-event-configurations --event-configurations "{$events}"
    for type in $types; do unlist "event type $type"; done
    echo "disabled: $(echo "$types" | paste -sd ' ' -)"
}

remove_files() {
    rm -f "$directory/arn"
    ! listed AmazonRootCA1.pem || rm -f "$directory/AmazonRootCA1.pem" "$directory/AmazonRootCA1.pem.new"
    emptied=$(sed -n 's/^directory$/yes/p' "$created")
    rm -f "$created" "$created.new"
    [ -z "$emptied" ] || rmdir "$directory" 2>/dev/null || true
    echo "removed:  files in $directory"
}

on_exit() {
    [ "$1" = 0 ] || ! [ -e "$created" ] || {
        echo "setup.sh: not complete. $created lists what was created. Run the same command again to"
        echo "continue, or 'sh $0 --undo $id $directory' to remove it."
    } >&2
}

undo=
reconcile=
while :; do
    case ${1-} in
    --undo) undo=yes ;;
    --reconcile) reconcile=yes ;;
    -h | --help)
        sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
        exit
        ;;
    *) break ;;
    esac
    shift
done
id=${1:-presenced}
directory=${2:-/etc/presenced/certs}
created=$directory/created
key=$directory/private.pem.key

case $id in
-* | *[!A-Za-z0-9_-]*) die "$id: use letters, digits, _ and - for policy and thing" ;;
esac
[ ${#id} -le 120 ] || die "$id: use at most 120 characters"
if [ -n "$undo" ] && ! [ -e "$created" ]; then
    echo "Nothing to undo: $created does not exist"
    exit
fi
command -v aws >/dev/null || die "the AWS CLI is not installed"

region=${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}
[ -n "$region" ] || die "no region: set AWS_REGION"
# Version 1 of the AWS CLI reads the second one only.
export AWS_REGION="$region" AWS_DEFAULT_REGION="$region" AWS_PAGER=
identity=$(aws sts get-caller-identity --query '[Account, Arn]' --output text)
account=${identity%%[!0-9]*}
partition=$(echo "$identity" | sed 's/.*arn:\([^:]*\):.*/\1/')
# A role belongs to all regions of the account. Its name has at most 64 characters.
role=$id-$region
[ -z "$reconcile" ] || [ ${#role} -le 64 ] ||
    die "$id: use at most $((63 - ${#region})) characters with --reconcile"
owner="$id in account $account, region $region"
[ ! -e "$created" ] || listed "$owner" ||
    die "$directory belongs to $(head -n 1 "$created"), and this would be $owner"

[ -n "$undo" ] || prepare_directory
trap 'on_exit $?' EXIT
trap 'exit 130' INT TERM HUP
if [ -n "$undo" ]; then
    echo "Removing what was created for $owner"
    list undo
    remove_certificate
    remove_policy "$id"
    remove_policy "$id-reconcile"
    remove_role
    remove_thing
    disable_events
    remove_files
else
    echo "Setting up $owner"
    create_policy "$id" policy.json
    create_thing
    create_certificate
    fetch_root_certificate
    enable_events
    [ -z "$reconcile" ] || create_reconcile
    echo "Done: $arn"
    [ -z "$reconcile" ] || print_settings
fi
