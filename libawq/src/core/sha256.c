/*
 * SHA-256 of files, by OpenSSL's libcrypto: by the functions of this one algorithm, which take no
 * memory and need neither providers nor configuration files. Where memory is short, what stands
 * above them may end the program.
 */
#define OPENSSL_SUPPRESS_DEPRECATED /* OpenSSL 3 would rather have them called from above */
#include "core/sha256.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES ((size_t)1 << 20)

void awq__sha256_begin(awq__sha256 *sha)
{
    sha->bytes = 0;
    SHA256_Init(&sha->digest);
}

awq_status awq__sha256_read(awq_context *ctx, awq__sha256 *sha, const char *path, int fd,
                            uint64_t bytes)
{
    unsigned char *buffer = awq__alloc(ctx, READ_BYTES, 1, "a buffer to hash files");
    awq_status status = AWQ_OK;
    uint64_t end = sha->bytes + bytes;
    AWQ__TRY_ALLOC(buffer);
    while (sha->bytes < end) {
        uint64_t left = end - sha->bytes;
        ssize_t count = pread(fd, buffer, left < READ_BYTES ? left : READ_BYTES, (off_t)sha->bytes);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            AWQ__TRY(awq__fail(ctx, AWQ_ERROR_IO, "%s: cannot be read at byte %llu: %s", path,
                               (unsigned long long)sha->bytes,
                               count ? strerror(errno) : "the file ends there"));
        SHA256_Update(&sha->digest, buffer, (size_t)count);
        sha->bytes += (uint64_t)count;
    }
done:
    awq__free(buffer);
    return status;
}

void awq__sha256_end(awq__sha256 *sha, char hex[AWQ__SHA256_HEX])
{
    unsigned char bytes[SHA256_DIGEST_LENGTH];
    SHA256_Final(bytes, &sha->digest);
    for (size_t i = 0; i < sizeof bytes; i++) {
        hex[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
    }
    hex[2 * sizeof bytes] = 0;
}
