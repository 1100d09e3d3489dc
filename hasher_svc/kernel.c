/* SHA-256 of a packed batch, on OpenSSL's compression.
 *
 * It gets that as a pointer, so it needs no header of OpenSSL to be built, and links nothing. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { BLOCK = 64, DIGEST_WORDS = 8, LENGTH = 8 };

/* FIPS 180-4, 5.3.3 */
static const uint32_t INITIAL[DIGEST_WORDS] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

/* Begins as OpenSSL's SHA256_CTX does. What follows there, 80 bytes, says that nothing is buffered when it is zero, and
 * stays so, but for a count of bits that nobody reads, as long as it is given whole blocks. */
struct state {
    uint32_t words[DIGEST_WORDS];
    uint32_t rest[32];
};

/* OpenSSL's SHA256_Update. */
typedef int (*update_function)(struct state *state, const void *data, size_t length);

static unsigned char *put_big_endian(unsigned char *to, uint64_t value, int bytes) {
    for (int i = bytes - 1; i >= 0; i--) *to++ = (unsigned char)(value >> (8 * i));
    return to;
}

/* The digests of count messages of size bytes each, both packed without gaps, from an offset of the data on.
 *
 * The padding (5.1.1) is the same for each message, so it is made once: the last one or two blocks are kept, and only
 * the end of each message is copied into them. */
void hash_batch(update_function update, const unsigned char *data, size_t offset, size_t size, size_t count,
                unsigned char *digests) {
    data += offset;
    const size_t end = size % BLOCK;
    const size_t whole = size - end;
    const size_t last = end + 1 + LENGTH <= BLOCK ? BLOCK : 2 * BLOCK;
    unsigned char padded[2 * BLOCK] = {0};
    padded[end] = 0x80;
    put_big_endian(padded + last - LENGTH, (uint64_t)size * 8, LENGTH);

    struct state state = {{0}, {0}};
    while (count--) {
        memcpy(state.words, INITIAL, sizeof INITIAL);
        if (whole) update(&state, data, whole);
        memcpy(padded, data + whole, end);
        update(&state, padded, last);
        data += size;
        for (int i = 0; i < DIGEST_WORDS; i++) digests = put_big_endian(digests, state.words[i], 4);
    }
}
