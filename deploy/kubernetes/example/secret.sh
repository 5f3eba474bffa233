#!/bin/sh -eu
# Prints the Secret that base wants, from the files of a folder: secret.sh FOLDER | kubectl apply -n push -f -
# The files: jwt.pem, the public key of what mints clients' tokens; redis.password; and the tokens of the internal port, send.token,
# ops.token, read.token and peer.token, which are made where they are missing.
folder=${1:?usage: secret.sh FOLDER}
umask 077
for name in send ops read peer; do
    [ -s "$folder/$name.token" ] || { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; echo; } >"$folder/$name.token"
done
printf 'apiVersion: v1\nkind: Secret\nmetadata:\n  name: holdfast\ntype: Opaque\ndata:\n'
for name in jwt.pem redis.password send.token ops.token read.token peer.token; do
    printf '  %s: %s\n' "$name" "$(base64 <"$folder/$name" | tr -d '\n')"
done
