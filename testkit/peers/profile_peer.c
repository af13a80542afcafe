/*
 * What MIT's libraries make of a krb5.conf.
 *
 *   profile_peer dump FILE...            every relation of the profile
 *   profile_peer ask FILE... < names     the values of relations, one a line
 *   profile_peer realm < hosts           the realms of hosts, by the configuration in KRB5_CONFIG
 *   profile_peer delta < texts           durations in seconds
 *
 * Names, values, hosts and texts are written in hex digits. The components of a name are divided by slashes, its values by
 * commas; each value has a v before it. A line answered by - alone has no answer. Exit code 2: the library refused the files.
 */
#include "profile.h"
#include <krb5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 40

static void fail(const char *what, long code)
{
    fprintf(stderr, "%s: %ld\n", what, code);
    exit(2);
}

static void put_hex(const char *text)
{
    for (; *text != '\0'; text++)
        printf("%02x", (unsigned char)*text);
}

static char *from_hex(const char *digits, size_t length)
{
    char *text = calloc(length / 2 + 1, 1);
    size_t i;
    unsigned int byte;

    for (i = 0; text != NULL && i + 1 < length; i += 2) {
        if (sscanf(digits + i, "%2x", &byte) == 1)
            text[i / 2] = (char)byte;
    }
    if (text == NULL)
        fail("out of memory", 0);
    return text;
}

/* Prints the values of a relation, or a dash. */
static void put_values(profile_t profile, const char **names)
{
    char **values = NULL;
    size_t i;

    if (profile_get_values(profile, names, &values) != 0) {
        printf("-\n");
        return;
    }
    for (i = 0; values[i] != NULL; i++) {
        printf(i == 0 ? "v" : ",v");
        put_hex(values[i]);
    }
    printf("\n");
    profile_free_list(values);
}

static void dump(profile_t profile, const char **names, int depth)
{
    char **found = NULL;
    int i, j;

    if (depth + 1 >= MAX_DEPTH)
        fail("too deep", depth);
    /* Of the outermost level there are sections alone. */
    if (depth > 0 && profile_get_relation_names(profile, names, &found) == 0) {
        for (i = 0; found[i] != NULL; i++) {
            names[depth] = found[i];
            names[depth + 1] = NULL;
            for (j = 0; j <= depth; j++) {
                printf(j == 0 ? "" : "/");
                put_hex(names[j]);
            }
            printf("=");
            put_values(profile, names);
        }
        profile_free_list(found);
    }
    names[depth] = NULL;
    if (profile_get_subsection_names(profile, names, &found) == 0) {
        for (i = 0; found[i] != NULL; i++) {
            names[depth] = found[i];
            names[depth + 1] = NULL;
            dump(profile, names, depth + 1);
        }
        profile_free_list(found);
    }
    names[depth] = NULL;
}

static void ask(profile_t profile, const char *line)
{
    const char *names[MAX_DEPTH] = { NULL };
    size_t length;
    int depth = 0;

    for (;;) {
        length = strcspn(line, "/\n");
        if (depth + 1 >= MAX_DEPTH)
            fail("too deep", depth);
        names[depth++] = from_hex(line, length);
        if (line[length] != '/')
            break;
        line += length + 1;
    }
    put_values(profile, names);
    while (depth > 0)
        free((char *)names[--depth]);
}

static void put_realm(krb5_context context, const char *host)
{
    char **realms = NULL;

    if (krb5_get_host_realm(context, host, &realms) != 0 || realms == NULL || realms[0] == NULL) {
        printf("-\n");
        return;
    }
    printf("v");
    put_hex(realms[0]);
    printf("\n");
    krb5_free_host_realm(context, realms);
}

static void put_delta(char *text)
{
    krb5_deltat delta;

    if (krb5_string_to_deltat(text, &delta) != 0)
        printf("-\n");
    else
        printf("v%ld\n", (long)delta);
}

int main(int argc, char **argv)
{
    static char line[65536];
    const char *names[MAX_DEPTH] = { NULL };
    profile_t profile = NULL;
    krb5_context context = NULL;
    const char *mode = argc > 1 ? argv[1] : "";
    char *text;
    long code;

    if (strcmp(mode, "dump") == 0 || strcmp(mode, "ask") == 0) {
        code = profile_init((const_profile_filespec_t *)(argv + 2), &profile);
        if (code != 0)
            fail("profile_init", code);
    } else if (strcmp(mode, "realm") == 0) {
        code = krb5_init_context(&context);
        if (code != 0)
            fail("krb5_init_context", code);
    } else if (strcmp(mode, "delta") != 0) {
        fail("usage: profile_peer dump|ask|realm|delta [FILE...]", argc);
    }
    if (strcmp(mode, "dump") == 0) {
        dump(profile, names, 0);
        return 0;
    }
    while (fgets(line, sizeof(line), stdin) != NULL) {
        if (profile != NULL) {
            ask(profile, line);
            continue;
        }
        text = from_hex(line, strcspn(line, "\n"));
        if (context != NULL)
            put_realm(context, text);
        else
            put_delta(text);
        free(text);
    }
    return 0;
}
