/* Inner products of all pairs of rows of a float32 matrix, for processors with AVX-512.
 *
 * A tile is TILE rows against TILE rows: its 25 sums stay in registers, sixteen lanes each, while numbers are read along the
 * rows, so nothing is transposed. Columns go through in blocks that are copied side by side first: they stay in the second
 * cache whatever lies between the rows in memory. A lane adds at most BLOCK / 16 products in float32; lanes are then added in
 * a tree, and blocks in float64. Only tiles on or above the diagonal are computed, and both halves are written.
 *
 * No state, no Python object touched while the lock is released. Where a processor has no AVX-512 the import fails, and
 * gram.py multiplies with numpy.
 */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define TILE 5 /* 25 sums, 5 parts of rows and one more: 31 of 32 registers */
#define LANES 16
#define BLOCK 1024       /* columns, at most */
#define LEAST_BLOCK 256
#define IN_CACHE 524288  /* bytes of a block of all rows, half of a second-level cache, where LEAST_BLOCK allows it */
#define ALIGNMENT 64
#define WITH_AVX512 __attribute__((target("avx512f")))

typedef struct {
    const char *rows;
    Py_ssize_t count, size;
    Py_ssize_t step;   /* bytes from one row to the next */
    Py_ssize_t width;  /* columns of a block, a multiple of LANES */
    float *block;      /* count x width, aligned */
    double *out;       /* count x count, zero at first */
} Work;

/* The sums of the lanes of four vectors. */
WITH_AVX512 static inline __attribute__((always_inline)) __m128 sums_of_four(__m512 a, __m512 b, __m512 c, __m512 d)
{
    /* Pairs of 128-bit parts: (a0+a2, a1+a3, b0+b2, b1+b3), likewise c and d. */
    __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    /* One 128-bit part each of a, b, c, d. */
    __m512 all = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
    all = _mm512_add_ps(all, _mm512_permute_ps(all, 0x4e));
    all = _mm512_add_ps(all, _mm512_permute_ps(all, 0xb1));
    const __m512i first = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    return _mm512_castps512_ps128(_mm512_permutexvar_ps(first, all));
}

/* Adds the products of TILE rows from `left` with TILE rows from `right`, of `width` columns, to `sums`. */
WITH_AVX512 static void add_tile(const float *const *left, const float *const *right, Py_ssize_t width, double *sums)
{
    __m512 found[TILE * TILE];
    for (int i = 0; i < TILE * TILE; i++)
        found[i] = _mm512_setzero_ps();
    const float *l0 = left[0], *l1 = left[1], *l2 = left[2], *l3 = left[3], *l4 = left[4];
    const float *r0 = right[0], *r1 = right[1], *r2 = right[2], *r3 = right[3], *r4 = right[4];
    for (Py_ssize_t k = 0; k < width; k += LANES) {
        __m512 y0 = _mm512_load_ps(r0 + k), y1 = _mm512_load_ps(r1 + k), y2 = _mm512_load_ps(r2 + k);
        __m512 y3 = _mm512_load_ps(r3 + k), y4 = _mm512_load_ps(r4 + k), x;
#define ROW(i, from)                                            \
        x = _mm512_load_ps(from + k);                           \
        found[5 * i + 0] = _mm512_fmadd_ps(x, y0, found[5 * i + 0]); \
        found[5 * i + 1] = _mm512_fmadd_ps(x, y1, found[5 * i + 1]); \
        found[5 * i + 2] = _mm512_fmadd_ps(x, y2, found[5 * i + 2]); \
        found[5 * i + 3] = _mm512_fmadd_ps(x, y3, found[5 * i + 3]); \
        found[5 * i + 4] = _mm512_fmadd_ps(x, y4, found[5 * i + 4]);
        ROW(0, l0) ROW(1, l1) ROW(2, l2) ROW(3, l3) ROW(4, l4)
    }
    for (int i = 0; i < 24; i += 4) {
        __m256d four = _mm256_cvtps_pd(sums_of_four(found[i], found[i + 1], found[i + 2], found[i + 3]));
        _mm256_storeu_pd(sums + i, _mm256_add_pd(_mm256_loadu_pd(sums + i), four));
    }
    sums[24] += _mm512_reduce_add_ps(found[24]);
}

/* All tiles of the block. Behind the last row the last row stands in; what it gives is not kept. */
WITH_AVX512 static void add_block(const Work *work, Py_ssize_t width)
{
    for (Py_ssize_t i = 0; i < work->count; i += TILE)
        for (Py_ssize_t j = i; j < work->count; j += TILE) {
            const float *left[TILE], *right[TILE];
            double sums[TILE * TILE] = {0};
            for (Py_ssize_t t = 0; t < TILE; t++) {
                left[t] = work->block + (i + t < work->count ? i + t : work->count - 1) * work->width;
                right[t] = work->block + (j + t < work->count ? j + t : work->count - 1) * work->width;
            }
            add_tile(left, right, width, sums);
            for (Py_ssize_t a = 0; a < TILE && i + a < work->count; a++)
                for (Py_ssize_t b = 0; b < TILE && j + b < work->count; b++)
                    work->out[(i + a) * work->count + j + b] += sums[TILE * a + b];
        }
}

static void run(const Work *work)
{
    for (Py_ssize_t start = 0; start < work->size; start += work->width) {
        Py_ssize_t columns = work->size - start < work->width ? work->size - start : work->width;
        Py_ssize_t whole = (columns + LANES - 1) / LANES * LANES;
        for (Py_ssize_t row = 0; row < work->count; row++) {
            float *to = work->block + row * work->width;
            memcpy(to, work->rows + row * work->step + start * (Py_ssize_t)sizeof(float), (size_t)columns * sizeof(float));
            memset(to + columns, 0, (size_t)(whole - columns) * sizeof(float));
        }
        add_block(work, whole);
    }
    for (Py_ssize_t i = 0; i < work->count; i++) /* tiles on the diagonal wrote both halves of themselves */
        for (Py_ssize_t j = 0; j < i; j++)
            work->out[i * work->count + j] = work->out[j * work->count + i];
}

/* A buffer of two dimensions and that type; 0 with an exception set if it has another form. */
static int take(PyObject *object, Py_buffer *view, int flags, const char *format, Py_ssize_t itemsize, const char *name)
{
    if (PyObject_GetBuffer(object, view, flags | PyBUF_FORMAT) < 0) {
        view->obj = NULL;
        return 0;
    }
    const char *found = view->format == NULL ? "" : view->format;
    int anywhere = format[0] == 'f'; /* numbers of rows are only ever copied, so they need not be aligned */
    if (found[0] == '=' && anywhere)
        found++;
    if (view->ndim == 2 && view->itemsize == itemsize && strcmp(found, format) == 0
        && (anywhere || (uintptr_t)view->buf % (size_t)itemsize == 0))
        return 1;
    PyErr_Format(PyExc_ValueError, "%s must have two dimensions of type %s%s", name, format, anywhere ? "" : ", aligned");
    return 0;
}

/* Memory for a block of all rows; NULL where there is none. */
static void *make_room(Work *work)
{
    while (work->width > LEAST_BLOCK && work->count * work->width * (Py_ssize_t)sizeof(float) > IN_CACHE)
        work->width /= 2;
    return PyMem_Malloc(ALIGNMENT + (size_t)(work->count * work->width) * sizeof(float));
}

static PyObject *inner_products(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *given[2], *answer = NULL;
    Py_buffer rows = {0}, out = {0};
    void *memory = NULL;
    if (!PyArg_ParseTuple(arguments, "OO:inner_products", &given[0], &given[1]))
        return NULL;
    if (take(given[0], &rows, PyBUF_STRIDES, "f", sizeof(float), "rows")
        && take(given[1], &out, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE, "d", sizeof(double), "out")) {
        Work work = {rows.buf, rows.shape[0], rows.shape[1], rows.strides[0], BLOCK, NULL, out.buf};
        if (rows.strides[1] != sizeof(float) || out.shape[0] != work.count || out.shape[1] != work.count)
            PyErr_SetString(PyExc_ValueError, "numbers of a row must lie side by side, and out be square");
        else if ((memory = make_room(&work)) == NULL)
            PyErr_NoMemory();
        else {
            work.block = (float *)((char *)memory + (ALIGNMENT - (uintptr_t)memory % ALIGNMENT));
            Py_BEGIN_ALLOW_THREADS
            memset(work.out, 0, (size_t)(work.count * work.count) * sizeof(double));
            run(&work);
            Py_END_ALLOW_THREADS
            answer = Py_NewRef(Py_None);
        }
    }
    PyMem_Free(memory);
    PyBuffer_Release(&out); /* does nothing to a buffer that was never taken */
    PyBuffer_Release(&rows);
    return answer;
}

static PyMethodDef methods[] = {
    {"inner_products", inner_products, METH_VARARGS, "inner_products(rows, out): out becomes rows times rows transposed"},
    {NULL, NULL, 0, NULL},
};

static int ready(PyObject *module)
{
    (void)module;
    if (__builtin_cpu_supports("avx512f"))
        return 0;
    PyErr_SetString(PyExc_ImportError, "this processor has no AVX-512");
    return -1;
}
#else
static PyMethodDef methods[] = {{NULL, NULL, 0, NULL}};

static int ready(PyObject *module)
{
    (void)module;
    PyErr_SetString(PyExc_ImportError, "built for another processor than x86-64, or by another compiler than gcc or clang");
    return -1;
}
#endif

static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)ready}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_inner",
    .m_doc = "Inner products of all pairs of rows; see gram.py.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__inner(void) { return PyModuleDef_Init(&definition); }
