#!/bin/sh
# Makes mit_messages.txt anew: an MIT realm of RC4 alone in a temporary folder, and mit_messages.c run in it.
# Needs the packages krb5-kdc, krb5-admin-server, krb5-user, libkrb5-dev and a C compiler.
#
#   sh make.sh > mit_messages.txt
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
kdc=
trap 'test -z "$kdc" || kill "$kdc"; rm -rf "$folder"' EXIT
port=${PORT:-18888}
PATH=$PATH:/usr/sbin

cat > "$folder/krb5.conf" <<END
[libdefaults]
default_realm = RC4.TEST
dns_lookup_kdc = false
dns_canonicalize_hostname = false
rdns = false
allow_weak_crypto = true
allow_rc4 = true
permitted_enctypes = arcfour-hmac
[realms]
RC4.TEST = {
kdc = 127.0.0.1:$port
}
END
cat > "$folder/kdc.conf" <<END
[kdcdefaults]
kdc_listen = 127.0.0.1:$port
kdc_tcp_listen = 127.0.0.1:$port
[realms]
RC4.TEST = {
database_name = $folder/principal
key_stash_file = $folder/stash
master_key_type = arcfour-hmac
supported_enctypes = arcfour-hmac:normal
}
[logging]
kdc = FILE:$folder/kdc.log
END
export KRB5_CONFIG="$folder/krb5.conf" KRB5_KDC_PROFILE="$folder/kdc.conf"
export KRB5CCNAME="FILE:$folder/ccache" KRB5_KTNAME="FILE:$folder/keytab"

{
    kdb5_util create -s -P "$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')"
    kadmin.local addprinc -randkey test/service.example.test
    kadmin.local addprinc -randkey client
    kadmin.local ktadd -k "$folder/keytab" test/service.example.test
    kadmin.local ktadd -k "$folder/client.keytab" client
    krb5kdc -n &
    kdc=$!
    tries=0
    until kinit -k -t "$folder/client.keytab" client; do
        tries=$((tries + 1))
        test "$tries" -lt 50
        sleep 0.1
    done
    cc -Wall -Wextra -o "$folder/mit_messages" "$here/mit_messages.c" $(pkg-config --cflags --libs mit-krb5-gssapi)
} >&2
echo "# Made by make.sh beside this file, with MIT Kerberos $(krb5-config --version | sed 's/.* //')."
"$folder/mit_messages" test@service.example.test
