/* The part of gss_peer that goes below GSS-API: tokens no GSS-API makes, and fields it does not show. */
#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

gss_OID_desc krb5_mech = { 9, "\x2a\x86\x48\x86\xf7\x12\x01\x02\x02" };

static void require_krb5(krb5_context krb5, krb5_error_code code, const char *what)
{
    if (code != 0)
        die(EXIT_USAGE, "%s: %s", what, krb5_get_error_message(krb5, code));
}

static krb5_context new_krb5(void)
{
    krb5_context krb5;
    if (krb5_init_context(&krb5) != 0)
        die(EXIT_USAGE, "no Kerberos context: is KRB5_CONFIG readable?");
    return krb5;
}

/* Appends a DER length in the shortest form. */
static unsigned char *put_length(unsigned char *at, size_t length)
{
    if (length >= 0x100) {
        *at++ = 0x82;
        *at++ = (unsigned char)(length >> 8);
    } else if (length >= 0x80) {
        *at++ = 0x81;
    }
    *at++ = (unsigned char)length;
    return at;
}

/* RFC 2743 section 3.1 around `body`, with the token id of an AP-REQ (RFC 4121 section 4.1). */
static gss_buffer_desc framed_ap_req(const void *body, size_t length)
{
    gss_buffer_desc token = { 0, allocate(length + 32) };
    unsigned char *at = token.value;
    *at++ = 0x60;
    at = put_length(at, 2 + krb5_mech.length + 2 + length);
    *at++ = 0x06;
    *at++ = (unsigned char)krb5_mech.length;
    memcpy(at, krb5_mech.elements, krb5_mech.length);
    at += krb5_mech.length;
    *at++ = 0x01;
    *at++ = 0x00;
    memcpy(at, body, length);
    token.length = (size_t)(at - (unsigned char *)token.value) + length;
    return token;
}

gss_buffer_desc ap_req_without_checksum(const char *spn)
{
    krb5_context krb5 = new_krb5();
    krb5_ccache cache;
    krb5_creds wanted, *found;
    krb5_auth_context exchange = NULL;
    krb5_data ap_req;

    memset(&wanted, 0, sizeof wanted);
    require_krb5(krb5, krb5_cc_default(krb5, &cache), "ccache");
    require_krb5(krb5, krb5_cc_get_principal(krb5, cache, &wanted.client), "ccache");
    require_krb5(krb5, krb5_parse_name(krb5, spn, &wanted.server), spn);
    require_krb5(krb5, krb5_get_credentials(krb5, 0, cache, &wanted, &found), "ticket");
    require_krb5(krb5, krb5_auth_con_init(krb5, &exchange), "auth context");
    require_krb5(krb5, krb5_mk_req_extended(krb5, &exchange, AP_OPTS_MUTUAL_REQUIRED, NULL, found, &ap_req), "AP-REQ");

    gss_buffer_desc token = framed_ap_req(ap_req.data, ap_req.length);
    krb5_auth_con_free(krb5, exchange);
    krb5_free_context(krb5);
    return token;
}

/* What stands inside the GSS framing after the token id, or the whole token if it has no framing. */
static gss_buffer_desc body_of(gss_buffer_desc token, int *token_id)
{
    const unsigned char *bytes = token.value;
    size_t at = 2;
    *token_id = -1;
    if (token.length < 4 || bytes[0] != 0x60)
        return token;
    if (bytes[1] > 0x80)
        at += bytes[1] & 0x7f;
    if (at + 2 > token.length || at + 2 + bytes[at + 1] + 2 > token.length)
        return token;
    at += 2 + (size_t)bytes[at + 1];
    *token_id = bytes[at] << 8 | bytes[at + 1];
    gss_buffer_desc body = { token.length - at - 2, (void *)(bytes + at + 2) };
    return body;
}

const char *token_kind(gss_buffer_desc token)
{
    int token_id;
    gss_buffer_desc body = body_of(token, &token_id);
    int tag = body.length > 0 ? *(unsigned char *)body.value : 0;
    if (tag == 0x6e && (token_id == 0x0100 || token_id == -1))
        return "AP-REQ";
    if (tag == 0x6f && (token_id == 0x0200 || token_id == -1))
        return "AP-REP";
    if (tag == 0x7e && (token_id == 0x0300 || token_id == -1))
        return "KRB-ERROR";
    return "unknown token";
}

int report_krb_error(gss_buffer_desc token)
{
    int token_id;
    gss_buffer_desc body = body_of(token, &token_id);
    if (strcmp(token_kind(token), "KRB-ERROR") != 0)
        return 0;
    krb5_context krb5 = new_krb5();
    krb5_data message;
    memset(&message, 0, sizeof message);
    message.data = body.value;
    message.length = body.length;
#ifdef HEIMDAL
    KRB_ERROR error;
    require_krb5(krb5, krb5_rd_error(krb5, &message, &error), "KRB-ERROR");
    char *server = NULL;
    krb5_principal_data name = { .name = error.sname, .realm = error.realm };
    require_krb5(krb5, krb5_unparse_name(krb5, &name, &server), "KRB-ERROR sname");
    /* Heimdal turns the protocol's number into one of its own table. */
    fprintf(stderr, "KRB-ERROR %d sname %s e-text %s e-data %s\n", (int)(error.error_code - KRB5KDC_ERR_NONE), server,
            error.e_text ? "present" : "none", error.e_data ? "present" : "none");
    free(server);
    krb5_free_error_contents(krb5, &error);
#else
    krb5_error *error;
    char *server = NULL;
    require_krb5(krb5, krb5_rd_error(krb5, &message, &error), "KRB-ERROR");
    require_krb5(krb5, krb5_unparse_name(krb5, error->server, &server), "KRB-ERROR sname");
    fprintf(stderr, "KRB-ERROR %d sname %s e-text %s e-data %s\n", (int)error->error, server,
            error->text.length ? "present" : "none", error->e_data.length ? "present" : "none");
    krb5_free_unparsed_name(krb5, server);
    krb5_free_error(krb5, error);
#endif
    krb5_free_context(krb5);
    return 1;
}

int message_etype(gss_ctx_id_t context)
{
    OM_uint32 minor;
#ifdef HEIMDAL
    krb5_keyblock *key = NULL;
    if (gsskrb5_get_subkey(&minor, context, &key) != GSS_S_COMPLETE || key == NULL)
        return 0;
    int etype = key->keytype;
    krb5_free_keyblock(NULL, key);
    return etype;
#else
    gss_buffer_set_t set = GSS_C_NO_BUFFER_SET;
    int etype = 0;
    /* The second element is an OID whose last arc is the etype; those of interest fit in one byte. */
    if (gss_inquire_sec_context_by_oid(&minor, context, GSS_C_INQ_SSPI_SESSION_KEY, &set) == GSS_S_COMPLETE
        && set->count > 1 && set->elements[1].length > 0)
        etype = ((unsigned char *)set->elements[1].value)[set->elements[1].length - 1];
    gss_release_buffer_set(&minor, &set);
    return etype;
#endif
}

void store_credential(gss_cred_id_t credential, const char *path)
{
    OM_uint32 major, minor;
    gss_name_t name = GSS_C_NO_NAME;
    gss_buffer_desc text = GSS_C_EMPTY_BUFFER;
    major = gss_inquire_cred(&minor, credential, &name, NULL, NULL, NULL);
    require(major, minor, "delegated credential");
    major = gss_display_name(&minor, name, &text, NULL);
    require(major, minor, "delegated name");
    char *principal_text = allocate(text.length + 1);
    memcpy(principal_text, text.value, text.length);
    principal_text[text.length] = 0;

    krb5_context krb5 = new_krb5();
    krb5_principal principal;
    krb5_ccache cache;
    require_krb5(krb5, krb5_parse_name(krb5, principal_text, &principal), "delegated name");
    require_krb5(krb5, krb5_cc_resolve(krb5, path, &cache), "cache for what was delegated");
    require_krb5(krb5, krb5_cc_initialize(krb5, cache, principal), "cache for what was delegated");
    major = gss_krb5_copy_ccache(&minor, credential, cache);
    require(major, minor, "delegated tickets");
    printf("delegated %s\n", principal_text);

    krb5_cc_close(krb5, cache);
    krb5_free_principal(krb5, principal);
    krb5_free_context(krb5);
    free(principal_text);
    gss_release_buffer(&minor, &text);
    gss_release_name(&minor, &name);
}
