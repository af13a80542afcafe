/* What depends on the mechanism in gss_peer: object identifiers, credentials, names, and the texts of refusals. */
#define _GNU_SOURCE /* asprintf */
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

static gss_cred_id_t acquire_default(gss_OID_set mechs, gss_cred_usage_t usage)
{
    OM_uint32 major, minor;
    gss_cred_id_t credential = GSS_C_NO_CREDENTIAL;
    major = gss_acquire_cred(&minor, GSS_C_NO_NAME, GSS_C_INDEFINITE, mechs, usage, &credential, NULL, NULL);
    require(major, minor, "no credential");
    return credential;
}

#ifdef HEIMDAL
gss_cred_id_t acquire(gss_OID mech, const struct identity *identity, gss_cred_usage_t usage)
{
    gss_OID_set_desc set = { 1, mech };
    if (identity->user != NULL || identity->cred_mechs != NULL || identity->neg_mechs != NULL)
        die(EXIT_USAGE, "usage: --user, --cred-mechs and --neg-mechs: this Heimdal cannot");
    return acquire_default(&set, usage);
}
#else
/* The user's credential, of a password. IAKERB takes a name without a realm for one whose realm the acceptor tells. */
static gss_cred_id_t acquire_as(const struct identity *identity, gss_OID_set mechs, gss_cred_usage_t usage)
{
    OM_uint32 major, minor;
    gss_name_t name;
    gss_cred_id_t credential = GSS_C_NO_CREDENTIAL;
    gss_buffer_desc user = { strlen(identity->user), (void *)identity->user };
    gss_buffer_desc password = { strlen(identity->password), (void *)identity->password };
    major = gss_import_name(&minor, &user, GSS_C_NT_USER_NAME, &name);
    require(major, minor, identity->user);
    major = gss_acquire_cred_with_password(&minor, name, &password, GSS_C_INDEFINITE, mechs, usage, &credential, NULL,
                                           NULL);
    require(major, minor, "no credential");
    gss_release_name(&minor, &name);
    return credential;
}

/* The mechanisms of a comma-separated list, in `room`. */
static gss_OID_set_desc mechs_named(const char *list, gss_OID_desc room[MECH_COUNT])
{
    gss_OID_set_desc set = { 0, room };
    char *copy = strdup(list);
    for (char *name = strtok(copy, ","); name != NULL && set.count < MECH_COUNT; name = strtok(NULL, ","))
        room[set.count++] = *mech_named(name);
    free(copy);
    return set;
}

/* One mechanism's part of an exported credential. */
static gss_buffer_desc exported_part(gss_OID mech, gss_buffer_desc of_mech)
{
    gss_buffer_desc parts[] = { { mech->length, mech->elements }, of_mech };
    gss_buffer_desc whole = { 0, allocate(8 + mech->length + of_mech.length) };
    for (int i = 0; i < 2; i++) {
        unsigned char *at = (unsigned char *)whole.value + whole.length;
        for (int shift = 24; shift >= 0; shift -= 8)
            *at++ = (unsigned char)(parts[i].length >> shift);
        memcpy(at, parts[i].value, parts[i].length);
        whole.length += 4 + parts[i].length;
    }
    return whole;
}

/* What MIT would export of a user's credential for IAKERB before its first use. It fails to, for want of tickets. */
static gss_buffer_desc exported_user(const struct identity *identity)
{
    char *text;
    const char *at = strchr(identity->user, '@') != NULL ? "" : "@";
    int length = asprintf(&text,
                          "[\"K5C1\",[%d,[\"%s%s\",null,null],null,false,true,null,null,[\"%s%s\"],null,false,0,0,null,"
                          "\"%s\"]]",
                          GSS_C_INITIATE, identity->user, at, identity->user, at, identity->password);
    if (length < 0 || strpbrk(identity->user, "\"\\") != NULL || strpbrk(identity->password, "\"\\") != NULL)
        die(EXIT_USAGE, "usage: --cred-mechs with quotation marks or backslashes in user or password");
    gss_buffer_desc of_mech = { (size_t)length, text };
    return exported_part(mech_named("iakerb"), of_mech);
}

/* SPNEGO's credential of the mechanisms that `identity` names. MIT's SPNEGO acquires nothing for IAKERB, and no call adds
   it; but what SPNEGO exports is the credential that it negotiates with, and any other's export can be imported as its. */
static gss_cred_id_t acquire_spnego(gss_OID spnego, const struct identity *identity, gss_cred_usage_t usage)
{
    OM_uint32 major, minor;
    gss_OID_desc room[MECH_COUNT];
    gss_OID_set_desc set = mechs_named(identity->cred_mechs, room);
    gss_cred_id_t credential = GSS_C_NO_CREDENTIAL;
    gss_buffer_desc exported;
    if (identity->user == NULL) {
        gss_cred_id_t negotiated = acquire_default(&set, usage);
        major = gss_export_cred(&minor, negotiated, &exported);
        require(major, minor, "export of a credential");
        gss_release_cred(&minor, &negotiated);
    } else if (strcmp(identity->cred_mechs, "iakerb") == 0) {
        exported = exported_user(identity);
    } else {
        die(EXIT_USAGE, "usage: --user with --cred-mechs %s: iakerb alone", identity->cred_mechs);
    }
    gss_buffer_desc whole = exported_part(spnego, exported);
    major = gss_import_cred(&minor, &whole, &credential);
    require(major, minor, "import of a credential");
    return credential;
}

gss_cred_id_t acquire(gss_OID mech, const struct identity *identity, gss_cred_usage_t usage)
{
    OM_uint32 major, minor;
    gss_OID_set_desc set = { 1, mech };
    gss_cred_id_t credential;
    if (identity->cred_mechs != NULL)
        credential = acquire_spnego(mech, identity, usage);
    else if (identity->user != NULL)
        credential = acquire_as(identity, &set, usage);
    else
        credential = acquire_default(&set, usage);
    if (identity->neg_mechs != NULL) {
        gss_OID_desc room[MECH_COUNT];
        set = mechs_named(identity->neg_mechs, room);
        major = gss_set_neg_mechs(&minor, credential, &set);
        require(major, minor, "mechanisms to negotiate");
    }
    return credential;
}
#endif

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

void print_pseudo_random(gss_ctx_id_t context, const char *label)
{
    static const struct { const char *name; int key; } keys[] = {
        { "full", GSS_C_PRF_KEY_FULL },
        { "partial", GSS_C_PRF_KEY_PARTIAL },
    };
    OM_uint32 major, minor;
    gss_buffer_desc input = { strlen(label), (void *)label }, output;
    for (int i = 0; i < 2; i++) {
        major = gss_pseudo_random(&minor, context, keys[i].key, &input, 100, &output);
        require(major, minor, "pseudo-random bytes");
        printf("prf %s ", keys[i].name);
        for (size_t at = 0; at < output.length; at++)
            printf("%02x", ((unsigned char *)output.value)[at]);
        printf("\n");
        gss_release_buffer(&minor, &output);
    }
}
