/* malloc() and its family for the libraries in C, of mimalloc, which CPython brings with it: musl's own returns memory
   late and takes a lock for every thread. And the settings of mimalloc for a small machine.

   Not here: what Python's own objects come from; the launcher chooses that.
   Source: mimalloc.h, "Options", and arena.c, of the copy in CPython 3.13. */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#include <mimalloc.h>

enum { SEGMENT = 32 << 20 }; /* MI_SEGMENT_ALIGN, mimalloc/types.h */
static const size_t RESERVED = (size_t)1 << 30; /* of addresses, as much as mimalloc would take itself; not of memory */

/* Pages that became free go back to the system after mimalloc's own 10 ms, whole segments too. Its ten times as long
   for those left 8 MB more after a burst of 700 large bodies; more than 10 ms left twice as much, and nothing at all
   20 MB less, but faulted in again what the next request needed. */
enum { SEGMENT_PURGE_DELAYS = 1 };

/* Where huge pages are always on, as Debian has them, each first touch of 2 MiB would cost 2 MiB. */
__attribute__((constructor)) static void set_up(void)
{
    mi_option_set(mi_option_arena_purge_mult, SEGMENT_PURGE_DELAYS);
    unsigned char *got =
        mmap(NULL, RESERVED + SEGMENT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got == MAP_FAILED)
        return; /* an address limit: mimalloc takes less, as it needs it */
    size_t before = -(uintptr_t)got & (SEGMENT - 1);
    if (before)
        munmap(got, before);
    if (before < SEGMENT)
        munmap(got + before + RESERVED, SEGMENT - before);
    madvise(got + before, RESERVED, MADV_NOHUGEPAGE);
    mi_manage_os_memory(got + before, RESERVED, true, false, true, -1);
}

void *malloc(size_t size)
{
    return mi_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return mi_calloc(count, size);
}

void *realloc(void *block, size_t size)
{
    return mi_realloc(block, size);
}

void free(void *block)
{
    mi_free(block);
}

void *memalign(size_t alignment, size_t size)
{
    return mi_malloc_aligned(size, alignment);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return mi_malloc_aligned(size, alignment);
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    void *got = mi_malloc_aligned(size, alignment);
    if (got == NULL)
        return ENOMEM;
    *block = got;
    return 0;
}

size_t malloc_usable_size(void *block)
{
    return mi_usable_size(block);
}
