/* SHA-256 of files, by pieces. */
#ifndef AWQ__SHA256_H
#define AWQ__SHA256_H

#include "core/core.h"

#include <openssl/sha.h>

#define AWQ__SHA256_HEX 65 /* bytes, with the NUL */

/* The hash of the first bytes of a file. */
typedef struct awq__sha256 {
    SHA256_CTX digest;
    uint64_t bytes;
} awq__sha256;
void awq__sha256_begin(awq__sha256 *sha);
/* Adds the next `bytes` of the file. AWQ_ERROR_IO if it ends before them. */
awq_status awq__sha256_read(awq_context *ctx, awq__sha256 *sha, const char *path, int fd,
                            uint64_t bytes);
/* The hexadecimal digits that sha256sum prints. */
void awq__sha256_end(awq__sha256 *sha, char hex[AWQ__SHA256_HEX]);

#endif
