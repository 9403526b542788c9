/*
 * SHA-256 of files, by OpenSSL's libcrypto: by the functions of this one algorithm, which take no
 * memory and need neither providers nor configuration files. Where memory is short, what stands
 * above them may end the program.
 */
#define OPENSSL_SUPPRESS_DEPRECATED /* OpenSSL 3 would rather have them called from above */
#include "core/core.h"

#include <errno.h>
#include <openssl/sha.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES ((size_t)1 << 20)

/* All that is left of a file. */
static awq_status feed(awq_context *ctx, const char *path, int fd, SHA256_CTX *digest)
{
    unsigned char *buffer = awq__alloc(ctx, READ_BYTES, 1, "a buffer to hash files");
    awq_status status;
    AWQ__TRY_ALLOC(buffer);
    for (;;) {
        ssize_t count = read(fd, buffer, READ_BYTES);
        if (count < 0 && errno == EINTR)
            continue;
        if (count == 0)
            break;
        if (count < 0)
            AWQ__TRY(awq__fail(ctx, AWQ_ERROR_IO, "%s: cannot be read: %s", path, strerror(errno)));
        SHA256_Update(digest, buffer, (size_t)count);
    }
done:
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
    unsigned char bytes[SHA256_DIGEST_LENGTH];
    SHA256_CTX digest;
    int fd = awq__open_file(ctx, path, &size);
    if (fd < 0)
        return AWQ_ERROR_IO;
    SHA256_Init(&digest);
    awq_status status;
    AWQ__TRY(feed(ctx, path, fd, &digest));
    SHA256_Final(bytes, &digest);
    print_hex(bytes, sizeof bytes, hex);
done:
    close(fd);
    return status;
}
