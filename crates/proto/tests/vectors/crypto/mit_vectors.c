/*
 * Prints what MIT Kerberos makes of fixed keys and inputs, for crypto_vectors.rs.
 *
 *   cc -o mit_vectors mit_vectors.c $(pkg-config --cflags --libs krb5) && ./mit_vectors > mit_vectors.txt
 *
 * Messages are not printed: byte i of a message of n bytes is (7 i + n) mod 256. Confounders are random, so the
 * ciphertexts differ each time; to take another version means to replace the whole file.
 */
#include <krb5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct profile {
    krb5_enctype etype;
    krb5_cksumtype checksum;
    unsigned int key_len;
    const unsigned int *counts;
};

static const unsigned int sha1_counts[] = { 10001, 0 };
static const unsigned int sha2_counts[] = { 40001, 0 };
static const unsigned int no_counts[] = { 0 };

static const struct profile profiles[] = {
    { 17, 15, 16, sha1_counts }, { 18, 16, 32, sha1_counts }, { 19, 19, 16, sha2_counts },
    { 20, 20, 32, sha2_counts }, { 23, -138, 16, no_counts },
};

static const unsigned int sizes[] = { 0, 1, 15, 16, 17, 31, 32, 33, 64, 65, 81, 100, 112, 113, 1000 };
static const krb5_keyusage usages[] = { 1, 2, 3, 8, 9, 10, 12, 13, 15, 22, 23, 24, 25, 56, 513 };
static const char *const passwords[] = {
    "", "password", "\xc3\x9f and \xf0\x9d\x84\x9e",
    "a pass phrase that is longer than one block of SHA-1, which is sixty-four bytes long",
};

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static krb5_context context;

static void check(krb5_error_code code, const char *what)
{
    if (code != 0) {
        fprintf(stderr, "%s: %s\n", what, krb5_get_error_message(context, code));
        exit(1);
    }
}

static void print_hex(const char *name, const void *bytes, size_t length)
{
    const unsigned char *byte = bytes;
    printf("%s = ", name);
    while (length-- > 0)
        printf("%02x", *byte++);
    printf("\n");
}

static void fill(unsigned char *message, unsigned int size)
{
    for (unsigned int i = 0; i < size; i++)
        message[i] = (unsigned char)(7 * i + size);
}

static void begin(const char *kind, const krb5_keyblock *key)
{
    printf("\nkind = %s\netype = %d\n", kind, key->enctype);
    print_hex("key", key->contents, key->length);
}

static void encrypt(const krb5_keyblock *key, krb5_keyusage usage, unsigned int size)
{
    unsigned char message[1000], cipher[1100];
    krb5_data input = { KV5M_DATA, size, (char *)message };
    krb5_enc_data output = { 0 };
    size_t length;

    fill(message, size);
    check(krb5_c_encrypt_length(context, key->enctype, size, &length), "krb5_c_encrypt_length");
    output.ciphertext.length = length;
    output.ciphertext.data = (char *)cipher;
    check(krb5_c_encrypt(context, key, usage, NULL, &input, &output), "krb5_c_encrypt");
    begin("encrypt", key);
    printf("usage = %u\nsize = %u\n", usage, size);
    print_hex("ciphertext", cipher, length);
}

static void sign(const krb5_keyblock *key, krb5_cksumtype type, krb5_keyusage usage, unsigned int size)
{
    unsigned char message[1000];
    krb5_data input = { KV5M_DATA, size, (char *)message };
    krb5_checksum output;

    fill(message, size);
    check(krb5_c_make_checksum(context, type, key, usage, &input, &output), "krb5_c_make_checksum");
    begin("checksum", key);
    printf("type = %d\nusage = %u\nsize = %u\n", type, usage, size);
    print_hex("checksum", output.contents, output.length);
    krb5_free_checksum_contents(context, &output);
}

static void pseudo_random(const krb5_keyblock *key, unsigned int size)
{
    unsigned char message[1000], block[64], more[150];
    krb5_data input = { KV5M_DATA, size, (char *)message };
    krb5_data output = { KV5M_DATA, 0, (char *)block };
    krb5_data stretched = { KV5M_DATA, sizeof(more), (char *)more };
    size_t length;

    fill(message, size);
    check(krb5_c_prf_length(context, key->enctype, &length), "krb5_c_prf_length");
    output.length = length;
    check(krb5_c_prf(context, key, &input, &output), "krb5_c_prf");
    check(krb5_c_prfplus(context, key, &input, &stretched), "krb5_c_prfplus");
    begin("prf", key);
    printf("size = %u\n", size);
    print_hex("prf", block, length);
    print_hex("prf-plus", more, sizeof(more));
}

static void string_to_key(krb5_enctype etype, const char *password, const char *salt, unsigned int count)
{
    unsigned char bytes[4] = { count >> 24, count >> 16 & 0xff, count >> 8 & 0xff, count & 0xff };
    krb5_data params = { KV5M_DATA, 4, (char *)bytes };
    krb5_data input = { KV5M_DATA, strlen(password), (char *)password };
    krb5_data salted = { KV5M_DATA, strlen(salt), (char *)salt };
    krb5_keyblock key;

    check(krb5_c_string_to_key_with_params(context, etype, &input, &salted, count != 0 ? &params : NULL, &key),
          "krb5_c_string_to_key_with_params");
    begin("string-to-key", &key);
    print_hex("password", password, strlen(password));
    print_hex("salt", salt, strlen(salt));
    print_hex("params", bytes, count != 0 ? sizeof(bytes) : 0);
    krb5_free_keyblock_contents(context, &key);
}

static void profile(const struct profile *profile)
{
    unsigned char bytes[32];
    krb5_keyblock key = { KV5M_KEYBLOCK, profile->etype, profile->key_len, bytes };

    for (unsigned int i = 0; i < profile->key_len; i++)
        bytes[i] = (unsigned char)(0x31 * i + profile->etype);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        encrypt(&key, 11, sizes[i]);
        sign(&key, profile->checksum, 11, sizes[i]);
    }
    for (size_t i = 0; i < COUNT(usages); i++) {
        encrypt(&key, usages[i], 20);
        sign(&key, profile->checksum, usages[i], 20);
    }
    pseudo_random(&key, 0);
    pseudo_random(&key, 4);
    pseudo_random(&key, 200);
    for (size_t i = 0; i < COUNT(passwords); i++) {
        string_to_key(profile->etype, passwords[i], "EXAMPLE.TESTuser", 0);
        for (const unsigned int *count = profile->counts; *count != 0; count++)
            string_to_key(profile->etype, passwords[i], "EXAMPLE.TESThostname", *count);
    }
}

int main(void)
{
    check(krb5_init_context(&context), "krb5_init_context");
    printf("# Made by mit_vectors.c beside this file, with MIT Kerberos 1.20.1.\n");
    for (size_t i = 0; i < COUNT(profiles); i++)
        profile(&profiles[i]);
    krb5_free_context(context);
    return 0;
}
