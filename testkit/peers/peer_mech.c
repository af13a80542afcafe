/* What depends on the mechanism in gss_peer: object identifiers, credentials, names, and the texts of refusals. */
#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct mech { const char *name; gss_OID_desc oid; int is_kerberos; } mechs[] = {
    { "krb5", { 9, "\x2a\x86\x48\x86\xf7\x12\x01\x02\x02" }, 1 },
    { "ms-krb5", { 9, "\x2a\x86\x48\x82\xf7\x12\x01\x02\x02" }, 1 },
#ifndef HEIMDAL
    /* Heimdal 7 has no IAKERB, and its NTLM is version 1. */
    { "iakerb", { 6, "\x2b\x06\x01\x05\x02\x05" }, 1 },
    { "ntlm", { 10, "\x2b\x06\x01\x04\x01\x82\x37\x02\x02\x0a" }, 0 },
#endif
    { "spnego", { 6, "\x2b\x06\x01\x05\x05\x02" }, 0 },
};
enum { MECH_COUNT = sizeof mechs / sizeof mechs[0] };

gss_OID mech_named(const char *name)
{
    for (int i = 0; i < MECH_COUNT; i++)
        if (strcmp(name, mechs[i].name) == 0)
            return &mechs[i].oid;
    die(EXIT_USAGE, "usage: unknown mechanism '%s'", name);
}

static const struct mech *mech_of(gss_OID oid)
{
    for (int i = 0; oid != GSS_C_NO_OID && i < MECH_COUNT; i++)
        if (oid->length == mechs[i].oid.length && memcmp(oid->elements, mechs[i].oid.elements, oid->length) == 0)
            return &mechs[i];
    return NULL;
}

const char *mech_name(gss_OID oid)
{
    const struct mech *mech = mech_of(oid);
    return mech != NULL ? mech->name : "unknown";
}

int is_kerberos(gss_OID oid)
{
    const struct mech *mech = mech_of(oid);
    return mech != NULL && mech->is_kerberos;
}

static void print_status(OM_uint32 status, int type)
{
    OM_uint32 minor, more = 0;
    do {
        gss_buffer_desc text;
        if (gss_display_status(&minor, status, type, &krb5_mech, &more, &text) != GSS_S_COMPLETE)
            return;
        fprintf(stderr, "%.*s; ", (int)text.length, (char *)text.value);
        gss_release_buffer(&minor, &text);
    } while (more != 0);
}

void print_refusal(const char *what, OM_uint32 major, OM_uint32 minor)
{
    fprintf(stderr, "refused: %s: ", what);
    print_status(major, GSS_C_GSS_CODE);
    print_status(minor, GSS_C_MECH_CODE);
    fprintf(stderr, "major 0x%08x minor %d\n", major, (int)minor);
}

void require(OM_uint32 major, OM_uint32 minor, const char *what)
{
    if (GSS_ERROR(major)) {
        print_refusal(what, major, minor);
        exit(EXIT_REFUSED);
    }
}

/* What SPNEGO may offer or accept with this credential, best first. */
static void set_neg_mechs(gss_cred_id_t credential, const char *list)
{
#ifdef HEIMDAL
    (void)credential;
    die(EXIT_USAGE, "usage: --neg-mechs %s: this Heimdal cannot choose", list);
#else
    OM_uint32 major, minor;
    gss_OID_desc chosen[MECH_COUNT];
    gss_OID_set_desc set = { 0, chosen };
    char *copy = strdup(list);
    for (char *name = strtok(copy, ","); name != NULL && set.count < MECH_COUNT; name = strtok(NULL, ","))
        chosen[set.count++] = *mech_named(name);
    major = gss_set_neg_mechs(&minor, credential, &set);
    require(major, minor, "mechanisms to negotiate");
    free(copy);
#endif
}

gss_cred_id_t acquire(gss_OID mech, const char *neg_mechs, gss_cred_usage_t usage)
{
    OM_uint32 major, minor;
    gss_OID_set_desc set = { 1, mech };
    gss_cred_id_t credential = GSS_C_NO_CREDENTIAL;
    major = gss_acquire_cred(&minor, GSS_C_NO_NAME, GSS_C_INDEFINITE, &set, usage, &credential, NULL, NULL);
    require(major, minor, "no credential");
    if (neg_mechs != NULL)
        set_neg_mechs(credential, neg_mechs);
    return credential;
}

gss_name_t name_of(const char *spn, gss_OID mech)
{
    OM_uint32 major, minor;
    gss_name_t name;
    gss_OID type = GSS_KRB5_NT_PRINCIPAL_NAME;
    char *copy = strdup(spn), *slash = strchr(copy, '/');
    /* Only Kerberos knows principals; CLASS@HOST is a service's name for every mechanism. */
    if (!is_kerberos(mech) && slash != NULL) {
        char *realm = strchr(slash, '@');
        if (realm != NULL)
            *realm = '\0';
        *slash = '@';
        type = GSS_C_NT_HOSTBASED_SERVICE;
    }
    gss_buffer_desc text = { strlen(copy), copy };
    major = gss_import_name(&minor, &text, type, &name);
    require(major, minor, spn);
    free(copy);
    return name;
}
