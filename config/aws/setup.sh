#!/bin/sh
# Create policy, thing and certificate for one daemon on AWS, and enable the event types.
#
#   sh config/aws/setup.sh [CLIENT_ID [DIRECTORY]]
#
# CLIENT_ID (presenced) is the mqtt.client_id of the daemon and the name of policy and thing. DIRECTORY
# (/etc/presenced/certs) receives certificate, private key and Amazon's root certificate. Account and
# region are those of the AWS CLI. An existing policy or thing is kept.
set -eu

id=${1:-presenced}
directory=${2:-/etc/presenced/certs}
here=$(cd "$(dirname "$0")" && pwd)

die() {
    echo "setup.sh: $*" >&2
    exit 1
}

case $id in
*[!A-Za-z0-9_-]*) die "$id: use letters, digits, _ and - for policy and thing" ;;
esac
[ ! -e "$directory/private.pem.key" ] || die "$directory/private.pem.key is there already"
command -v aws >/dev/null || die "the AWS CLI is not installed"

account=$(aws sts get-caller-identity --query Account --output text)
caller=$(aws sts get-caller-identity --query Arn --output text)
partition=$(echo "$caller" | cut -d : -f 2)
region=${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}
[ -n "$region" ] || die "no region: set AWS_REGION"

echo "Policy and thing $id in account $account, region $region"
policy=$(sed "s/arn:aws:iot:REGION:ACCOUNT:/arn:$partition:iot:$region:$account:/
              s/client\/presenced/client\/$id/" "$here/policy.json")
aws iot get-policy --policy-name "$id" >/dev/null 2>&1 ||
    aws iot create-policy --policy-name "$id" --policy-document "$policy" >/dev/null
aws iot create-thing --thing-name "$id" >/dev/null

echo "Certificate in $directory"
mkdir -p "$directory"
old_umask=$(umask)
umask 077
certificate=$(aws iot create-keys-and-certificate --set-as-active \
    --certificate-pem-outfile "$directory/certificate.pem.crt" \
    --private-key-outfile "$directory/private.pem.key" \
    --query certificateArn --output text)
umask "$old_umask"
chmod 644 "$directory/certificate.pem.crt"
aws iot attach-policy --policy-name "$id" --target "$certificate"
aws iot attach-thing-principal --thing-name "$id" --principal "$certificate"
curl -fsSo "$directory/AmazonRootCA1.pem" https://www.amazontrust.com/repository/AmazonRootCA1.pem

echo "Event types"
aws iot update-event-configurations \
    --event-configurations "file://$here/event-configurations.json"
echo "Done: $certificate"
