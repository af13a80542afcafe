/* What the parts of gss_peer share. Built once against MIT's libraries and once, with -DHEIMDAL, against Heimdal's. */
#ifndef PEER_H
#define PEER_H

#include <gssapi/gssapi.h>
#include <gssapi/gssapi_krb5.h>
#ifndef HEIMDAL
#include <gssapi/gssapi_ext.h>
#endif
#include <krb5.h>
#include <stddef.h>

/* Exit codes; a test tells by them whose word a failure was. */
enum {
    EXIT_REFUSED = 1,  /* the GSS-API of this end, or a KRB-ERROR of the other, said no */
    EXIT_USAGE = 2,    /* command line, file or credential of this end */
    EXIT_NETWORK = 3,  /* the other end cannot be reached, or closed without a token */
    EXIT_MISMATCH = 4, /* what came back is not what was sent, or not protected as asked */
};

/* Longest frame read, in bytes: more than any test sends, so that the limits under test are never this program's. */
#define MAX_FRAME (32u << 20)

/* peer_io.c: files and frames (4-byte little-endian length, then the bytes). */

void die(int exit_code, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));
void *allocate(size_t length);
gss_buffer_desc copy_of(const void *bytes, size_t length);
gss_buffer_desc from_hex(const char *text);
gss_buffer_desc random_bytes(size_t length);
gss_buffer_desc read_file(const char *path);
void write_file(const char *path, gss_buffer_desc bytes);
/* Appends the line `SIDE = TOKEN` to the file, the token in hexadecimal. */
void record_token(const char *path, char side, gss_buffer_desc token);
/* Appends the empty line that ends a handshake. */
void record_end(const char *path);

int connect_to(const char *host, const char *port);
int listen_on_loopback(const char *port);
int accept_on(int listener);
/* -1 if the connection ended or failed first. */
int send_frame(int fd, gss_buffer_desc frame);
/* 1 and an allocated frame, 0 at the end of the stream, -1 if it was cut, failed, or the frame is empty or too long. */
int receive_frame(int fd, gss_buffer_desc *frame);

/* peer_mech.c: what depends on the mechanism. */

gss_OID mech_named(const char *name);
/* The name that an option takes, or "unknown". */
const char *mech_name(gss_OID mech);
int is_kerberos(gss_OID mech);
/* One line on stderr: what was refused, the texts of both codes, and both codes as numbers. */
void print_refusal(const char *what, OM_uint32 major, OM_uint32 minor);
/* Ends the program with EXIT_REFUSED if `major` is an error. */
void require(OM_uint32 major, OM_uint32 minor, const char *what);
/* What a credential is made of; what is NULL is left to the library. */
struct identity {
    const char *user, *password; /* both or neither */
    const char *cred_mechs;      /* what SPNEGO has credentials of */
    const char *neg_mechs;       /* what of that SPNEGO may choose from, best first */
};
/* A credential for `mech`. */
gss_cred_id_t acquire(gss_OID mech, const struct identity *identity, gss_cred_usage_t usage);
/* The name of a service, from the text of its principal. */
gss_name_t name_of(const char *spn, gss_OID mech);
/* `prf full HEX` and `prf partial HEX` on stdout: what gss_pseudo_random makes of `label` and the context's keys. */
void print_pseudo_random(gss_ctx_id_t context, const char *label);

/* peer_krb5.c: what GSS-API does not show. */

extern gss_OID_desc krb5_mech;

/* A framed AP-REQ for `spn`, mutual authentication asked for, whose authenticator has no checksum. */
gss_buffer_desc ap_req_without_checksum(const char *spn);
/* "AP-REQ", "AP-REP", "KRB-ERROR" or "unknown token", with or without the GSS framing. */
const char *token_kind(gss_buffer_desc token);
/* If `token` is a KRB-ERROR, writes its fields to stderr as one line and returns 1. */
int report_krb_error(gss_buffer_desc token);
/* Writes the tickets of a Kerberos credential to a new credential cache in the file `path`, and tells
   `delegated PRINCIPAL` on stdout. */
void store_credential(gss_cred_id_t credential, const char *path);
/* The etype of the key that protects messages, or 0 if the library does not tell. */
int message_etype(gss_ctx_id_t context);

#endif
