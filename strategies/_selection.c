/* Means of the middle of each column of a float32 matrix, by a network of comparators given from Python.
 *
 * Whoever calls decides which comparators are needed (selection.py); this file only applies them, to LANES columns at a time.
 * A block of 100 rows is 26 kB, so it stays in the first-level cache, and a comparator is one minimum and one maximum of
 * whole vectors. Numbers are compared as integers that have their order: then -0 lies below +0, equal numbers are
 * equal to the bit, and no compiler or processor mode changes what the comparison of two numbers says.
 *
 * No state, no Python object touched while the lock is released. What is read or written lies inside the buffers that were
 * given: indices are copied and checked before the lock is released, so that nobody changes them afterwards.
 */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define LANES 64
#define GROUP 8 /* rows that are sorted in registers as they are read; GROUP in selection.py */
#define ALIGNMENT 64
#define INFINITE 0x7f800000

/* One build serves every x86-64 processor: the loader takes the widest version that this one has. That needs indirect
 * functions, which glibc has. Elsewhere, as on aarch64, the compiler's default vectors are those of every processor. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx512f", "avx2", "sse4.2", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline)) /* else a clone would call the version for old processors */
#else
#define INLINE static inline
#endif
#if defined(_MSC_VER)
#define restrict __restrict
#endif

typedef struct {
    const char **rows;  /* where each of `count` rows begins */
    Py_ssize_t count;
    Py_ssize_t size;    /* numbers in a row */
    Py_ssize_t step;    /* bytes from one number to the next */
    const uint32_t *network; /* pairs of offsets into the block */
    Py_ssize_t pairs;
    Py_ssize_t low, high;
    int32_t *block;     /* count x LANES, aligned */
    char *out;          /* `size` floats */
} Work;

/* The integer with a float's place in the order of floats, from its bits; and back. */
INLINE int32_t ordered(int32_t bits) { return bits ^ (int32_t)((uint32_t)-(bits < 0) >> 1); }

INLINE int32_t read_ordered(const char *from)
{
    int32_t bits;
    memcpy(&bits, from, sizeof bits);
    return ordered(bits);
}

#define COMPARE(x, y)              \
    {                              \
        int32_t less = x < y ? x : y; \
        y = x < y ? y : x;         \
        x = less;                  \
    }

INLINE void compare_lines(int32_t *restrict a, int32_t *restrict b)
{
    for (int j = 0; j < LANES; j++)
        COMPARE(a[j], b[j])
}

/* Eight lines at `from` to eight sorted ones at `to`; lowest and highest are kept up to date. */
INLINE void read_eight(const char *const *from, int32_t *restrict to, int32_t *restrict lowest, int32_t *restrict highest)
{
    const char *f0 = from[0], *f1 = from[1], *f2 = from[2], *f3 = from[3];
    const char *f4 = from[4], *f5 = from[5], *f6 = from[6], *f7 = from[7];
    for (int j = 0; j < LANES; j++) {
        int32_t a = read_ordered(f0 + 4 * j), b = read_ordered(f1 + 4 * j), c = read_ordered(f2 + 4 * j);
        int32_t d = read_ordered(f3 + 4 * j), e = read_ordered(f4 + 4 * j), f = read_ordered(f5 + 4 * j);
        int32_t g = read_ordered(f6 + 4 * j), h = read_ordered(f7 + 4 * j);
        COMPARE(a, b) COMPARE(c, d) COMPARE(e, f) COMPARE(g, h)
        COMPARE(a, c) COMPARE(b, d) COMPARE(e, g) COMPARE(f, h)
        COMPARE(b, c) COMPARE(f, g)
        COMPARE(a, e) COMPARE(b, f) COMPARE(c, g) COMPARE(d, h)
        COMPARE(c, e) COMPARE(d, f)
        COMPARE(b, c) COMPARE(d, e) COMPARE(f, g)
        to[j] = a;
        to[LANES + j] = b;
        to[2 * LANES + j] = c;
        to[3 * LANES + j] = d;
        to[4 * LANES + j] = e;
        to[5 * LANES + j] = f;
        to[6 * LANES + j] = g;
        to[7 * LANES + j] = h;
        lowest[j] = a < lowest[j] ? a : lowest[j];
        highest[j] = h > highest[j] ? h : highest[j];
    }
}

INLINE void read_one(const char *from, int32_t *restrict to, int32_t *restrict lowest, int32_t *restrict highest)
{
    for (int j = 0; j < LANES; j++) {
        int32_t a = read_ordered(from + 4 * j);
        to[j] = a;
        lowest[j] = a < lowest[j] ? a : lowest[j];
        highest[j] = a > highest[j] ? a : highest[j];
    }
}

/* Numbers that do not lie side by side, or fewer than LANES of them: a copy that does, with zeros behind. */
INLINE const char *gathered(const char *row, Py_ssize_t step, Py_ssize_t width, int32_t *spare)
{
    for (Py_ssize_t j = 0; j < width; j++)
        memcpy(spare + j, row + j * step, sizeof *spare);
    memset(spare + width, 0, (size_t)(LANES - width) * sizeof *spare);
    return (const char *)spare;
}

/* The columns from `start` on into the block, each group of eight rows sorted. */
INLINE void read_block(const Work *work, Py_ssize_t start, Py_ssize_t width, int32_t *lowest, int32_t *highest)
{
    int32_t spare[GROUP * LANES];
    const char *from[GROUP];
    int side_by_side = work->step == sizeof(float) && width == LANES;
    for (Py_ssize_t row = 0; row < work->count; row += GROUP) {
        Py_ssize_t group = work->count - row < GROUP ? work->count - row : GROUP;
        for (Py_ssize_t r = 0; r < group; r++) {
            from[r] = work->rows[row + r] + start * work->step;
            if (!side_by_side)
                from[r] = gathered(from[r], work->step, width, spare + r * LANES);
        }
        int32_t *to = work->block + row * LANES;
        if (group == GROUP)
            read_eight(from, to, lowest, highest);
        else
            for (Py_ssize_t r = 0; r < group; r++)
                read_one(from[r], to + r * LANES, lowest, highest);
    }
}

/* Lines low to high of the block, added in this order in float64, over their number. */
INLINE void write_means(const Work *work, Py_ssize_t start, Py_ssize_t width)
{
    double sums[LANES] = {0};
    float means[LANES];
    for (Py_ssize_t line = work->low; line < work->high; line++)
        for (int j = 0; j < LANES; j++) {
            int32_t bits = ordered(work->block[line * LANES + j]);
            float value;
            memcpy(&value, &bits, sizeof value);
            sums[j] += value;
        }
    double number = (double)(work->high - work->low);
    for (int j = 0; j < LANES; j++)
        means[j] = (float)(sums[j] / number);
    memcpy(work->out + start * sizeof *means, means, (size_t)width * sizeof *means);
}

/* Whether all numbers were finite. */
FOR_EACH_PROCESSOR
static int run(const Work *work)
{
    int32_t lowest[LANES] = {0}, highest[LANES] = {0};
    for (Py_ssize_t start = 0; start < work->size; start += LANES) {
        Py_ssize_t width = work->size - start < LANES ? work->size - start : LANES;
        read_block(work, start, width, lowest, highest);
        for (Py_ssize_t pair = 0; pair < work->pairs; pair++)
            compare_lines(work->block + work->network[2 * pair], work->block + work->network[2 * pair + 1]);
        write_means(work, start, width);
    }
    int32_t below = lowest[0], above = highest[0];
    for (int j = 1; j < LANES; j++) {
        below = lowest[j] < below ? lowest[j] : below;
        above = highest[j] > above ? highest[j] : above;
    }
    return below > ordered((int32_t)0xff800000) && above < INFINITE;
}

/* A buffer of the given form; 0 with an exception set if it has another. */
static int take(PyObject *object, Py_buffer *view, int flags, int dimensions, Py_ssize_t itemsize, const char *formats,
                const char *name)
{
    if (PyObject_GetBuffer(object, view, flags | PyBUF_FORMAT) < 0) {
        view->obj = NULL;
        return 0;
    }
    const char *format = view->format == NULL ? "" : view->format;
    int anywhere = formats[0] == 'f'; /* floats are only ever copied, so they need not be aligned */
    if (format[0] == '=' && anywhere)
        format++;
    if (view->ndim == dimensions && view->itemsize == itemsize && strlen(format) == 1 && strchr(formats, format[0]) != NULL
        && (anywhere || (uintptr_t)view->buf % (size_t)itemsize == 0))
        return 1;
    PyErr_Format(PyExc_ValueError, "%s must have %d dimensions of numbers of %zd bytes%s", name, dimensions, itemsize,
                 anywhere ? "" : ", aligned");
    return 0;
}

/* Checks what was asked and copies what the work depends on into `memory`; 0 with an exception set if it cannot be done. */
static int prepare(Work *work, void **memory, const Py_buffer *rows, const Py_buffer *order, const Py_buffer *network,
                   const Py_buffer *out)
{
    work->count = order->shape[0];
    work->size = rows->shape[1];
    work->step = rows->strides[1];
    work->pairs = network->shape[0];
    work->out = out->buf;
    if (out->shape[0] != work->size || network->shape[1] != 2 || work->count > UINT16_MAX || work->low < 0
        || work->low >= work->high || work->high > work->count) {
        PyErr_SetString(PyExc_ValueError, "rows, order, network, ranks and out do not fit together");
        return 0;
    }
    size_t block = (size_t)work->count * LANES * sizeof(int32_t), begins = (size_t)work->count * sizeof(char *);
    char *given = *memory = PyMem_Malloc(ALIGNMENT + block + begins + (size_t)work->pairs * 2 * sizeof(uint32_t));
    if (given == NULL) {
        PyErr_NoMemory();
        return 0;
    }
    work->block = (int32_t *)(given + (ALIGNMENT - (uintptr_t)given % ALIGNMENT));
    work->rows = (const char **)((char *)work->block + block);
    uint32_t *offsets = (uint32_t *)((char *)work->rows + begins);
    work->network = offsets;
    for (Py_ssize_t i = 0; i < work->count; i++) {
        int64_t row = ((const int64_t *)order->buf)[i];
        if (row < 0 || row >= rows->shape[0]) {
            PyErr_SetString(PyExc_ValueError, "order names a row that is not there");
            return 0;
        }
        work->rows[i] = (const char *)rows->buf + row * rows->strides[0];
    }
    const uint16_t *pairs = network->buf;
    for (Py_ssize_t k = 0; k < work->pairs; k++) {
        if (pairs[2 * k] >= pairs[2 * k + 1] || pairs[2 * k + 1] >= work->count) {
            PyErr_SetString(PyExc_ValueError, "network compares a line that is not there");
            return 0;
        }
        offsets[2 * k] = (uint32_t)pairs[2 * k] * LANES;
        offsets[2 * k + 1] = (uint32_t)pairs[2 * k + 1] * LANES;
    }
    return 1;
}

static PyObject *middle_means(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *given[4], *answer = NULL;
    Py_buffer rows = {0}, order = {0}, network = {0}, out = {0};
    Work work = {0};
    void *memory = NULL;
    if (!PyArg_ParseTuple(arguments, "OOOnnO:middle_means", &given[0], &given[1], &given[2], &work.low, &work.high,
                          &given[3]))
        return NULL;
    if (take(given[0], &rows, PyBUF_STRIDES, 2, sizeof(float), "f", "rows")
        && take(given[1], &order, PyBUF_C_CONTIGUOUS, 1, sizeof(int64_t), "lq", "order")
        && take(given[2], &network, PyBUF_C_CONTIGUOUS, 2, sizeof(uint16_t), "H", "network")
        && take(given[3], &out, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE, 1, sizeof(float), "f", "out")
        && prepare(&work, &memory, &rows, &order, &network, &out)) {
        int finite;
        Py_BEGIN_ALLOW_THREADS
        finite = run(&work);
        Py_END_ALLOW_THREADS
        answer = PyBool_FromLong(finite);
    }
    PyMem_Free(memory);
    PyBuffer_Release(&out); /* does nothing to a buffer that was never taken */
    PyBuffer_Release(&network);
    PyBuffer_Release(&order);
    PyBuffer_Release(&rows);
    return answer;
}

static PyMethodDef methods[] = {
    {"middle_means", middle_means, METH_VARARGS,
     "middle_means(rows, order, network, low, high, out) -> whether all numbers were finite"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_selection",
    .m_doc = "Means of the middle of each column; see selection.py.",
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__selection(void) { return PyModuleDef_Init(&definition); }
