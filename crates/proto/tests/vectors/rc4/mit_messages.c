/*
 * Prints the per-message tokens that MIT Kerberos makes in a context of RC4, for rc4_messages.rs. Both ends of the
 * context are in this program; make.sh beside it makes the realm that it needs.
 *
 *   mit_messages SERVICE@HOST
 *
 * Messages are not printed: byte i of a message of n bytes is (7 i + n) mod 256. Keys and confounders are random, so
 * the tokens differ each time; to take another version means to replace the whole file.
 */
#include <gssapi/gssapi_ext.h>
#include <gssapi/gssapi_krb5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 83 to 84 and 211 to 212 bytes are where the frame's length grows by a byte. */
static const size_t wrap_sizes[] = { 0, 1, 7, 8, 82, 83, 84, 210, 211, 212, 1000 };
static const size_t mic_sizes[] = { 0, 1, 64, 1000 };

enum { LARGEST = 1000, MOST_TOKENS = 64 };
#define COUNT(array) (sizeof(array) / sizeof(*(array)))

struct message {
    const char *kind;
    size_t size;
    gss_buffer_desc token;
};

static OM_uint32 minor;

static void check(OM_uint32 major, const char *what)
{
    if (GSS_ERROR(major)) {
        fprintf(stderr, "%s: major %08x minor %d\n", what, major, (int)minor);
        exit(1);
    }
}

static void establish(char *service, gss_ctx_id_t *initiator, gss_ctx_id_t *acceptor)
{
    gss_OID_desc krb5 = { 9, "\x2a\x86\x48\x86\xf7\x12\x01\x02\x02" };
    gss_buffer_desc text = { strlen(service), service }, request = { 0 }, reply = { 0 };
    OM_uint32 flags = GSS_C_MUTUAL_FLAG | GSS_C_CONF_FLAG | GSS_C_INTEG_FLAG | GSS_C_SEQUENCE_FLAG;
    gss_name_t name;

    check(gss_import_name(&minor, &text, GSS_C_NT_HOSTBASED_SERVICE, &name), "import_name");
    check(gss_init_sec_context(&minor, GSS_C_NO_CREDENTIAL, initiator, name, &krb5, flags, 0, NULL, NULL, NULL,
                               &request, NULL, NULL), "init_sec_context");
    check(gss_accept_sec_context(&minor, acceptor, GSS_C_NO_CREDENTIAL, &request, NULL, NULL, NULL, &reply, NULL,
                                 NULL, NULL), "accept_sec_context");
    check(gss_init_sec_context(&minor, GSS_C_NO_CREDENTIAL, initiator, name, &krb5, flags, 0, NULL, &reply, NULL,
                               &request, NULL, NULL), "init_sec_context again");
}

static struct message wrapped(gss_ctx_id_t context, int sealed, gss_buffer_desc plaintext)
{
    struct message message = { .kind = sealed ? "sealed" : "signed", .size = plaintext.length };
    int really = 0;

    check(gss_wrap(&minor, context, sealed, GSS_C_QOP_DEFAULT, &plaintext, &really, &message.token), "wrap");
    if (really != sealed)
        check(GSS_S_FAILURE, "confidentiality");
    return message;
}

static struct message signed_apart(gss_ctx_id_t context, gss_buffer_desc plaintext)
{
    struct message message = { .kind = "mic", .size = plaintext.length };

    check(gss_get_mic(&minor, context, GSS_C_QOP_DEFAULT, &plaintext, &message.token), "get_mic");
    return message;
}

static gss_buffer_desc plaintext_of(size_t size)
{
    static unsigned char bytes[LARGEST];
    gss_buffer_desc plaintext = { size, bytes };

    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(7 * i + size);
    return plaintext;
}

static void print_hex(const char *name, const void *data, size_t length)
{
    printf("%s = ", name);
    for (size_t i = 0; i < length; i++)
        printf("%02x", ((const unsigned char *)data)[i]);
    printf("\n");
}

/* The context is used up by this: only then does the library say its key and numbers. */
static void print_direction(const char *sent_by, gss_ctx_id_t context)
{
    struct message messages[MOST_TOKENS];
    gss_krb5_lucid_context_v1_t *lucid;
    void *exported;
    size_t count = 0;

    for (size_t i = 0; i < COUNT(wrap_sizes); i++) {
        messages[count++] = wrapped(context, 1, plaintext_of(wrap_sizes[i]));
        messages[count++] = wrapped(context, 0, plaintext_of(wrap_sizes[i]));
    }
    for (size_t i = 0; i < COUNT(mic_sizes); i++)
        messages[count++] = signed_apart(context, plaintext_of(mic_sizes[i]));

    check(gss_krb5_export_lucid_sec_context(&minor, &context, 1, &exported), "export_lucid_sec_context");
    lucid = exported;
    if (lucid->protocol != 0 || lucid->rfc1964_kd.ctx_key.type != 23)
        check(GSS_S_FAILURE, "a context of RC4");
    for (size_t i = 0; i < count; i++) {
        printf("\nsent_by = %s\n", sent_by);
        print_hex("key", lucid->rfc1964_kd.ctx_key.data, lucid->rfc1964_kd.ctx_key.length);
        printf("number = %lu\n", (unsigned long)(lucid->send_seq - count + i));
        printf("kind = %s\nsize = %zu\n", messages[i].kind, messages[i].size);
        print_hex("token", messages[i].token.value, messages[i].token.length);
    }
}

int main(int argc, char **argv)
{
    gss_ctx_id_t initiator = GSS_C_NO_CONTEXT, acceptor = GSS_C_NO_CONTEXT;

    if (argc != 2)
        return 2;
    establish(argv[1], &initiator, &acceptor);
    print_direction("initiator", initiator);
    print_direction("acceptor", acceptor);
    return 0;
}
