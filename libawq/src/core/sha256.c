/* SHA-256 of files, by OpenSSL's libcrypto. */
#include "core/core.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES ((size_t)1 << 20)
#define DIGEST_BYTES 32

static awq_status failed(awq_context *ctx, const char *path)
{
    return awq__fail(ctx, AWQ_ERROR_MEMORY, "%s: libcrypto has no memory for SHA-256", path);
}

/* All that is left of a file. */
static awq_status feed(awq_context *ctx, const char *path, int fd, EVP_MD_CTX *digest)
{
    unsigned char *buffer = awq__alloc(ctx, READ_BYTES, 1, "a buffer to hash files");
    awq_status status = buffer ? AWQ_OK : AWQ_ERROR_MEMORY;
    while (status == AWQ_OK) {
        ssize_t count = read(fd, buffer, READ_BYTES);
        if (count < 0 && errno == EINTR)
            continue;
        if (count == 0)
            break;
        if (count < 0)
            status = awq__fail(ctx, AWQ_ERROR_IO, "%s: cannot be read: %s", path, strerror(errno));
        else if (!EVP_DigestUpdate(digest, buffer, (size_t)count))
            status = failed(ctx, path);
    }
    awq__free(buffer);
    return status;
}

static void print_hex(const unsigned char *bytes, size_t count, char *hex)
{
    for (size_t i = 0; i < count; i++) {
        hex[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
    }
    hex[2 * count] = 0;
}

awq_status awq__sha256_file(awq_context *ctx, const char *path, char hex[AWQ__SHA256_HEX])
{
    size_t size;
    unsigned char bytes[DIGEST_BYTES];
    int fd = awq__open_file(ctx, path, &size);
    if (fd < 0)
        return AWQ_ERROR_IO;
    /* Neither configuration files nor the environment have a say. */
    OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, NULL);
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    awq_status status =
        digest && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) ? AWQ_OK : failed(ctx, path);
    if (status == AWQ_OK)
        status = feed(ctx, path, fd, digest);
    if (status == AWQ_OK && !EVP_DigestFinal_ex(digest, bytes, NULL))
        status = failed(ctx, path);
    if (status == AWQ_OK)
        print_hex(bytes, DIGEST_BYTES, hex);
    EVP_MD_CTX_free(digest);
    close(fd);
    return status;
}
