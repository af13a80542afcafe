/*
 * A GSS-API initiator and acceptor over frames of a 4-byte little-endian length and a token: the real peer that tests
 * of this project are held against.
 *
 *   gss_peer initiate HOST PORT SPN [options]   authenticate, then send what the options say and check the echo
 *   gss_peer accept PORT [options]              listen on 127.0.0.1 (port 0: a free one), authenticate, echo
 *   gss_peer token SPN FILE [options]           write an initiator's first token to FILE and stop
 *   gss_peer mkreq HOST PORT SPN                send an AP-REQ whose authenticator has no checksum
 *
 * SPN is the text of a Kerberos principal: CLASS/HOST@REALM; where the mechanism is not Kerberos, or not yet chosen,
 * its realm is left to the library. Exit codes are in peer.h.
 */
#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: gss_peer initiate HOST PORT SPN | accept PORT | token SPN FILE | mkreq HOST PORT SPN, then\n"
    "  --mech NAME           krb5 (the default) or spnego; with MIT also iakerb and ntlm\n"
    "  --neg-mechs LIST      what SPNEGO offers or accepts, best first: of krb5,ms-krb5,iakerb,ntlm (MIT)\n"
    "  --cred-mechs LIST     what SPNEGO has credentials of (MIT); iakerb is left out unless it is named here\n"
    "  --user NAME           initiate as this user, with the password of --password (MIT); for iakerb a name\n"
    "                        without realm is one whose realm the acceptor is asked for\n"
    "  --password TEXT       the user's password\n"
    "  --flags LIST          exactly these of mutual,replay,sequence,conf,integ,deleg,dce\n"
    "                        (default: mutual,replay,sequence,conf,integ)\n"
    "  --bindings HEX        channel bindings: application data\n"
    "  --etypes LIST         allow these etypes, by number\n"
    "  --count N             N connections in a row (initiate: 1; accept: without end)\n"
    "  --message TEXT        send TEXT and write the reply to stdout\n"
    "  --sizes LIST          send random messages of these lengths and compare the echoes\n"
    "  --unsealed            wrap without confidentiality\n"
    "  --mic TEXT            after the handshake exchange a MIC over TEXT each way, one in a frame\n"
    "  --prf TEXT            after the handshake write `prf full HEX` and `prf partial HEX`: what gss_pseudo_random makes\n"
    "                        of TEXT and either key, 100 bytes\n"
    "  --save-token FILE     write the first token sent to FILE\n"
    "  --record FILE         append each token of a handshake, the initiator's as `I = HEX`, the acceptor's as\n"
    "                        `A = HEX`, and after the last of one that succeeds an empty line\n"
    "  --replay-token FILE   send the bytes of FILE as first token and report the answer\n"
    "  --delegated FILE      write a delegated credential to the credential cache FILE\n";

static const struct { const char *name; OM_uint32 bit; } flag_names[] = {
    { "mutual", GSS_C_MUTUAL_FLAG }, { "replay", GSS_C_REPLAY_FLAG }, { "sequence", GSS_C_SEQUENCE_FLAG },
    { "conf", GSS_C_CONF_FLAG },     { "integ", GSS_C_INTEG_FLAG },   { "deleg", GSS_C_DELEG_FLAG },
    { "dce", GSS_C_DCE_STYLE },
};
enum { FLAG_COUNT = sizeof flag_names / sizeof flag_names[0], MAX_ETYPES = 16 };

struct options {
    gss_OID mech;
    struct identity identity;
    OM_uint32 flags;
    struct gss_channel_bindings_struct bindings_value;
    gss_channel_bindings_t bindings;
    krb5_enctype etypes[MAX_ETYPES];
    OM_uint32 etype_count;
    long count;
    const char *message, *sizes, *mic, *prf, *save_token, *record, *replay_token, *delegated;
    int sealed;
};

static void read_options(struct options *options, char **arguments);
static void initiate_connections(const struct options *options, const char *host, const char *port, const char *spn);
static void accept_connections(const struct options *options, const char *port);
static void save_first_token(const struct options *options, const char *spn, const char *path);
static void send_and_report(const char *host, const char *port, gss_buffer_desc token);

int main(int argc, char **argv)
{
    struct options options = {
        .mech = &krb5_mech,
        .flags = GSS_C_MUTUAL_FLAG | GSS_C_REPLAY_FLAG | GSS_C_SEQUENCE_FLAG | GSS_C_CONF_FLAG | GSS_C_INTEG_FLAG,
        .sealed = 1,
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    const char *command = argc > 1 ? argv[1] : "";
    if (strcmp(command, "initiate") == 0 && argc >= 5) {
        read_options(&options, argv + 5);
        if (options.replay_token != NULL)
            send_and_report(argv[2], argv[3], read_file(options.replay_token));
        else
            initiate_connections(&options, argv[2], argv[3], argv[4]);
    } else if (strcmp(command, "accept") == 0 && argc >= 3) {
        read_options(&options, argv + 3);
        accept_connections(&options, argv[2]);
    } else if (strcmp(command, "token") == 0 && argc >= 4) {
        read_options(&options, argv + 4);
        save_first_token(&options, argv[2], argv[3]);
    } else if (strcmp(command, "mkreq") == 0 && argc == 5) {
        send_and_report(argv[2], argv[3], ap_req_without_checksum(argv[4]));
    } else {
        die(EXIT_USAGE, "%s", usage);
    }
    return 0;
}

static OM_uint32 flags_of(const char *list)
{
    OM_uint32 flags = 0;
    char *copy = strdup(list);
    for (char *name = strtok(copy, ","); name != NULL; name = strtok(NULL, ",")) {
        int i = 0;
        while (i < FLAG_COUNT && strcmp(name, flag_names[i].name) != 0)
            i++;
        if (i == FLAG_COUNT)
            die(EXIT_USAGE, "usage: unknown flag '%s'\n%s", name, usage);
        flags |= flag_names[i].bit;
    }
    free(copy);
    return flags;
}

static void read_etypes(struct options *options, const char *list)
{
    char *copy = strdup(list);
    for (char *item = strtok(copy, ","); item != NULL && options->etype_count < MAX_ETYPES; item = strtok(NULL, ","))
        options->etypes[options->etype_count++] = atoi(item);
    free(copy);
}

static void read_options(struct options *options, char **arguments)
{
    while (*arguments != NULL) {
        const char *name = *arguments++;
        if (strcmp(name, "--unsealed") == 0) {
            options->sealed = 0;
            continue;
        }
        const char *value = *arguments;
        if (value == NULL)
            die(EXIT_USAGE, "usage: %s needs a value\n%s", name, usage);
        arguments++;
        if (strcmp(name, "--mech") == 0) {
            options->mech = mech_named(value);
        } else if (strcmp(name, "--neg-mechs") == 0) {
            options->identity.neg_mechs = value;
        } else if (strcmp(name, "--cred-mechs") == 0) {
            options->identity.cred_mechs = value;
        } else if (strcmp(name, "--user") == 0) {
            options->identity.user = value;
        } else if (strcmp(name, "--password") == 0) {
            options->identity.password = value;
        } else if (strcmp(name, "--flags") == 0) {
            options->flags = flags_of(value);
        } else if (strcmp(name, "--bindings") == 0) {
            options->bindings_value.application_data = from_hex(value);
            options->bindings = &options->bindings_value;
        } else if (strcmp(name, "--etypes") == 0) {
            read_etypes(options, value);
        } else if (strcmp(name, "--count") == 0) {
            options->count = atol(value);
        } else if (strcmp(name, "--message") == 0) {
            options->message = value;
        } else if (strcmp(name, "--sizes") == 0) {
            options->sizes = value;
        } else if (strcmp(name, "--mic") == 0) {
            options->mic = value;
        } else if (strcmp(name, "--prf") == 0) {
            options->prf = value;
        } else if (strcmp(name, "--save-token") == 0) {
            options->save_token = value;
        } else if (strcmp(name, "--record") == 0) {
            options->record = value;
        } else if (strcmp(name, "--replay-token") == 0) {
            options->replay_token = value;
        } else if (strcmp(name, "--delegated") == 0) {
            options->delegated = value;
        } else {
            die(EXIT_USAGE, "usage: unknown option %s %s\n%s", name, value, usage);
        }
    }
    if ((options->identity.user == NULL) != (options->identity.password == NULL))
        die(EXIT_USAGE, "usage: --user and --password go together\n%s", usage);
}

static gss_cred_id_t credential_for(const struct options *options, gss_cred_usage_t usage)
{
    gss_cred_id_t credential = acquire(options->mech, &options->identity, usage);
    if (options->etype_count > 0) {
        OM_uint32 major, minor;
        major = gss_krb5_set_allowable_enctypes(&minor, credential, options->etype_count,
                                                (krb5_enctype *)options->etypes);
        require(major, minor, "etypes");
    }
    return credential;
}

static void print_name(gss_name_t name)
{
    OM_uint32 minor;
    gss_buffer_desc text = GSS_C_EMPTY_BUFFER;
    gss_display_name(&minor, name, &text, NULL);
    printf(" %.*s", (int)text.length, (char *)text.value);
    gss_release_buffer(&minor, &text);
}

/* `negotiated MECH`, then `authenticated INITIATOR to ACCEPTOR etype N flags LIST` on stdout. Without
   Kerberos the acceptor is `-` and the etype 0. */
static void print_context(gss_ctx_id_t context)
{
    OM_uint32 minor, flags = 0;
    gss_name_t initiator = GSS_C_NO_NAME, acceptor = GSS_C_NO_NAME;
    gss_OID mech = GSS_C_NO_OID;
    gss_inquire_context(&minor, context, &initiator, NULL, NULL, &mech, &flags, NULL, NULL);
    /* NTLM's acceptor has no name, and gss-ntlmssp 1.2 crashes when it is asked for one. */
    if (is_kerberos(mech))
        gss_inquire_context(&minor, context, NULL, &acceptor, NULL, NULL, NULL, NULL, NULL);
    printf("negotiated %s\n", mech_name(mech));
    printf("authenticated");
    print_name(initiator);
    printf(" to");
    if (acceptor != GSS_C_NO_NAME)
        print_name(acceptor);
    else
        printf(" -");
    printf(" etype %d flags ", is_kerberos(mech) ? message_etype(context) : 0);
    for (int i = 0, printed = 0; i < FLAG_COUNT; i++)
        if (flags & flag_names[i].bit)
            printf("%s%s", printed++ ? "," : "", flag_names[i].name);
    printf("\n");
    gss_release_name(&minor, &initiator);
    gss_release_name(&minor, &acceptor);
}

static gss_buffer_desc receive_token(int fd)
{
    gss_buffer_desc token;
    if (receive_frame(fd, &token) != 1)
        die(EXIT_NETWORK, "network: the connection was closed where a token was expected");
    report_krb_error(token);
    return token;
}

/* The initiator's or acceptor's token, if tokens are recorded. */
static void record(const struct options *options, char side, gss_buffer_desc token)
{
    if (options->record != NULL)
        record_token(options->record, side, token);
}

static void send_or_die(int fd, gss_buffer_desc frame)
{
    if (send_frame(fd, frame) != 0)
        die(EXIT_NETWORK, "network: the connection was closed while sending");
}

/* Every token of an initiator, until the context is there. A library that retries a skewed clock does so in here. */
static gss_ctx_id_t initiator_handshake(const struct options *options, gss_cred_id_t credential, int fd,
                                        const char *spn)
{
    OM_uint32 major, minor, ignored;
    gss_name_t name = name_of(spn, options->mech);
    gss_ctx_id_t context = GSS_C_NO_CONTEXT;
    gss_buffer_desc input = GSS_C_EMPTY_BUFFER, output;
    int legs = 0;
    for (;;) {
        major = gss_init_sec_context(&minor, credential, &context, name, options->mech, options->flags, 0,
                                     options->bindings, &input, NULL, &output, NULL, NULL);
        free(input.value);
        input.value = NULL;
        if (output.length > 0) {
            if (legs++ == 0 && options->save_token != NULL)
                write_file(options->save_token, output);
            record(options, 'I', output);
            send_or_die(fd, output);
        }
        gss_release_buffer(&ignored, &output);
        require(major, minor, "initiator");
        if (major != GSS_S_CONTINUE_NEEDED)
            break;
        input = receive_token(fd);
        record(options, 'A', input);
    }
    gss_release_name(&ignored, &name);
    if (options->record != NULL)
        record_end(options->record);
    printf("handshake took %d tokens\n", legs);
    print_context(context);
    return context;
}

/* Sends one message and returns the plaintext of the one that answers it. */
static gss_buffer_desc round_trip(const struct options *options, int fd, gss_ctx_id_t context, gss_buffer_desc message)
{
    OM_uint32 major, minor;
    gss_buffer_desc token, plain;
    int sealed = 0;
    major = gss_wrap(&minor, context, options->sealed, GSS_C_QOP_DEFAULT, &message, &sealed, &token);
    require(major, minor, "wrap");
    if (sealed != options->sealed)
        die(EXIT_MISMATCH, "wrap gave sealed %d", sealed);
    send_or_die(fd, token);
    gss_release_buffer(&minor, &token);

    token = receive_token(fd);
    major = gss_unwrap(&minor, context, &token, &plain, &sealed, NULL);
    require(major, minor, "unwrap");
    if (major != GSS_S_COMPLETE)
        die(EXIT_MISMATCH, "the reply came out of sequence: major 0x%08x", major);
    if (sealed != options->sealed)
        die(EXIT_MISMATCH, "the reply has sealed %d", sealed);
    free(token.value);
    return plain;
}

static void check_echo(const struct options *options, int fd, gss_ctx_id_t context, size_t size)
{
    OM_uint32 minor;
    gss_buffer_desc message = random_bytes(size);
    gss_buffer_desc plain = round_trip(options, fd, context, message);
    if (plain.length != size || memcmp(plain.value, message.value, size) != 0)
        die(EXIT_MISMATCH, "the echo of %zu bytes differs", size);
    printf("echoed %zu\n", size);
    gss_release_buffer(&minor, &plain);
    free(message.value);
}

static void send_mic(int fd, gss_ctx_id_t context, const char *text)
{
    OM_uint32 major, minor;
    gss_buffer_desc message = { strlen(text), (void *)text }, mic;
    major = gss_get_mic(&minor, context, GSS_C_QOP_DEFAULT, &message, &mic);
    require(major, minor, "make MIC");
    send_or_die(fd, mic);
    gss_release_buffer(&minor, &mic);
}

static void verify_mic(int fd, gss_ctx_id_t context, const char *text)
{
    OM_uint32 major, minor;
    gss_buffer_desc message = { strlen(text), (void *)text }, mic = receive_token(fd);
    major = gss_verify_mic(&minor, context, &message, &mic, NULL);
    require(major, minor, "verify MIC");
    if (major != GSS_S_COMPLETE)
        die(EXIT_MISMATCH, "the MIC came out of sequence: major 0x%08x", major);
    printf("MIC verified\n");
    free(mic.value);
}

static void initiate(const struct options *options, gss_cred_id_t credential, const char *host, const char *port,
                     const char *spn)
{
    OM_uint32 minor;
    int fd = connect_to(host, port);
    gss_ctx_id_t context = initiator_handshake(options, credential, fd, spn);
    if (options->prf != NULL)
        print_pseudo_random(context, options->prf);
    if (options->mic != NULL) {
        send_mic(fd, context, options->mic);
        verify_mic(fd, context, options->mic);
    }
    if (options->message != NULL) {
        gss_buffer_desc message = { strlen(options->message), (void *)options->message };
        gss_buffer_desc reply = round_trip(options, fd, context, message);
        printf("reply %.*s\n", (int)reply.length, (char *)reply.value);
        gss_release_buffer(&minor, &reply);
    }
    char *copy = strdup(options->sizes != NULL ? options->sizes : "");
    for (char *size = strtok(copy, ","); size != NULL; size = strtok(NULL, ","))
        check_echo(options, fd, context, strtoul(size, NULL, 10));
    free(copy);
    gss_delete_sec_context(&minor, &context, GSS_C_NO_BUFFER);
    close(fd);
}

static void initiate_connections(const struct options *options, const char *host, const char *port, const char *spn)
{
    OM_uint32 minor;
    gss_cred_id_t credential = credential_for(options, GSS_C_INITIATE);
    for (long done = 0; done < (options->count ? options->count : 1); done++)
        initiate(options, credential, host, port, spn);
    gss_release_cred(&minor, &credential);
}

static void save_first_token(const struct options *options, const char *spn, const char *path)
{
    OM_uint32 major, minor;
    gss_ctx_id_t context = GSS_C_NO_CONTEXT;
    gss_buffer_desc input = GSS_C_EMPTY_BUFFER, output;
    major = gss_init_sec_context(&minor, credential_for(options, GSS_C_INITIATE), &context,
                                 name_of(spn, options->mech), options->mech, options->flags, 0, options->bindings,
                                 &input, NULL, &output, NULL, NULL);
    require(major, minor, "initiator");
    write_file(path, output);
}

static void send_and_report(const char *host, const char *port, gss_buffer_desc token)
{
    int fd = connect_to(host, port);
    send_or_die(fd, token);
    gss_buffer_desc answer = receive_token(fd);
    printf("answered %s\n", token_kind(answer));
    if (strcmp(token_kind(answer), "AP-REP") != 0)
        exit(EXIT_REFUSED);
    close(fd);
}

/* The context, or none if the initiator was refused or went away; then the connection is of no more use. */
static gss_ctx_id_t acceptor_handshake(const struct options *options, gss_cred_id_t credential, int fd)
{
    OM_uint32 major, minor, ignored;
    gss_ctx_id_t context = GSS_C_NO_CONTEXT;
    gss_cred_id_t delegated = GSS_C_NO_CREDENTIAL;
    gss_buffer_desc input, output;
    int legs = 0;
    do {
        if (receive_frame(fd, &input) != 1) {
            fprintf(stderr, "network: the initiator went away in the handshake\n");
            gss_delete_sec_context(&ignored, &context, GSS_C_NO_BUFFER);
            return GSS_C_NO_CONTEXT;
        }
        record(options, 'I', input);
        major = gss_accept_sec_context(&minor, &context, credential, &input, options->bindings, NULL, NULL, &output,
                                       NULL, NULL, &delegated);
        free(input.value);
        if (output.length > 0 && legs++ == 0 && options->save_token != NULL)
            write_file(options->save_token, output);
        if (output.length > 0) {
            record(options, 'A', output);
            send_frame(fd, output);
        }
        gss_release_buffer(&ignored, &output);
        if (GSS_ERROR(major)) {
            print_refusal("acceptor", major, minor);
            gss_delete_sec_context(&ignored, &context, GSS_C_NO_BUFFER);
            return GSS_C_NO_CONTEXT;
        }
    } while (major == GSS_S_CONTINUE_NEEDED);
    if (delegated != GSS_C_NO_CREDENTIAL && options->delegated != NULL)
        store_credential(delegated, options->delegated);
    gss_release_cred(&ignored, &delegated);
    if (options->record != NULL)
        record_end(options->record);
    print_context(context);
    return context;
}

/* Sends back, protected in the same way, what comes. Ends with the stream or with the first message that is refused. */
static void echo(int fd, gss_ctx_id_t context)
{
    OM_uint32 major, minor, ignored;
    gss_buffer_desc token, plain;
    int sealed;
    while (receive_frame(fd, &token) == 1) {
        major = gss_unwrap(&minor, context, &token, &plain, &sealed, NULL);
        free(token.value);
        if (major != GSS_S_COMPLETE) {
            print_refusal("message", major, minor);
            return;
        }
        major = gss_wrap(&minor, context, sealed, GSS_C_QOP_DEFAULT, &plain, NULL, &token);
        require(major, minor, "wrap");
        printf("message %zu %s\n", plain.length, sealed ? "sealed" : "unsealed");
        gss_release_buffer(&ignored, &plain);
        int sent = send_frame(fd, token);
        gss_release_buffer(&ignored, &token);
        if (sent != 0)
            return;
    }
}

static void accept_connections(const struct options *options, const char *port)
{
    OM_uint32 minor;
    gss_cred_id_t credential = credential_for(options, GSS_C_ACCEPT);
    int listener = listen_on_loopback(port);
    for (long done = 0; options->count == 0 || done < options->count; done++) {
        int fd = accept_on(listener);
        gss_ctx_id_t context = acceptor_handshake(options, credential, fd);
        if (context != GSS_C_NO_CONTEXT && options->prf != NULL)
            print_pseudo_random(context, options->prf);
        if (context != GSS_C_NO_CONTEXT && options->mic != NULL) {
            verify_mic(fd, context, options->mic);
            send_mic(fd, context, options->mic);
        }
        if (context != GSS_C_NO_CONTEXT)
            echo(fd, context);
        gss_delete_sec_context(&minor, &context, GSS_C_NO_BUFFER);
        close(fd);
    }
}
