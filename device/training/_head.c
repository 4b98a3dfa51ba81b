/* Gradients of a linear head, example by example, and their sum in whole cells: head_rows.py says what is computed, and
 * computes the same bits in numpy.
 *
 * Every number comes from products, sums, quotients and square roots that IEEE 754 rounds one by one, in an order that is
 * written here: eight partial sums, then a tree. So the width of a processor's vectors changes nothing, and no bit of one
 * example depends on the others. A compiler that joins a product and a sum into one rounding, or reorders sums, would break
 * that, and one that expects no NaN would let it pass the bound: setup.py forbids it, and `ready` below looks.
 *
 * No state, no Python object touched while the lock is released. What is read or written lies inside the buffers that were
 * given, and in memory of the call's own.
 */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__) && !defined(__FAST_MATH__) && !__FINITE_MATH_ONLY__ && defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD == 0

#define WIDE 4 /* numbers of a vector; LANES in head_rows.py are two of them */
#define AT_ONCE 5 /* classes: their sums do not wait for each other */
#define TOGETHER 4 /* examples that are added to a sum while it is in a register */
#define ALIGNMENT 64
#define ROUNDER 6755399441055744.0 /* 1.5 * 2^52: what is added to it is rounded to a whole number, ties to even */
#define LEAST_EXPONENT -708.0 /* LEAST_EXPONENT in head_rows.py */
#define LARGEST_BOUND 67108864.0 /* 2^26: its square and one more are whole numbers in float64 */

/* As in strategies/_selection.c: one build, and the loader takes the version for this processor. Vectors twice as wide as
 * AVX2's were no quicker. */
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif
#define INLINE static inline __attribute__((always_inline)) /* else a clone would call the version for old processors */

typedef double Wide __attribute__((vector_size(WIDE * sizeof(double)), may_alias));
typedef uint64_t Whole __attribute__((vector_size(WIDE * sizeof(uint64_t)), may_alias));

typedef struct {
    Py_ssize_t count, classes, length;
    Py_ssize_t parts;      /* of WIDE numbers, in a row that is filled up with zeros; even */
    const double *weight;  /* classes x length */
    const double *rows;    /* count x length */
    const int64_t *labels; /* count */
    double *errors;        /* count x classes */
    double *norms;         /* count */
    double limit;          /* squared bound */
    uint64_t *total;       /* classes x length, two's complement */
    Wide *row;            /* TOGETHER x parts: examples, aligned and filled up */
    Wide *own;            /* classes x parts: weights, or sums of cells (as Whole), likewise */
    Wide *few;            /* one number for each class */
} Work;

INLINE Py_ssize_t parts_of(Py_ssize_t length) { return (length + 2 * WIDE - 1) / (2 * WIDE) * 2; }

INLINE void fill_up(Wide *to, const double *from, Py_ssize_t length, Py_ssize_t parts)
{
    memcpy(to, from, (size_t)length * sizeof(double));
    memset((double *)to + length, 0, (size_t)(parts * WIDE - length) * sizeof(double));
}

INLINE double folded(const Wide *sums) { return ((*sums)[0] + (*sums)[2]) + ((*sums)[1] + (*sums)[3]); }

/* exp of numbers that are not above zero, in their place; 0 below LEAST_EXPONENT; NaN of NaN. */
INLINE void exponentiate(Wide *numbers)
{
    const Wide x = *numbers;
    const Wide zero = {0};
    Wide shifted = x * 0x1.71547652b82fep0 + ROUNDER;
    Wide n = shifted - ROUNDER;
    Wide r = (x - n * 0x1.62e42feep-1) - n * 0x1.a39ef35793c76p-33;
    Wide p = zero + 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    Whole power = ((Whole)shifted + 1023) << 52; /* 2^n: the last bits of `shifted` are n's */
    *numbers = (Wide)((Whole)(p * (Wide)power) & ~(Whole)(x < LEAST_EXPONENT));
}

/* Scores of `many` classes from `first` on. */
INLINE void score(const Work *work, Py_ssize_t first, int many, double *scores)
{
    const Wide *weight = work->own + first * work->parts;
    Wide low[AT_ONCE] = {{0}}, high[AT_ONCE] = {{0}};
    for (Py_ssize_t t = 0; t < work->parts; t += 2)
        for (int j = 0; j < many; j++) {
            low[j] += weight[j * work->parts + t] * work->row[t];
            high[j] += weight[j * work->parts + t + 1] * work->row[t + 1];
        }
    for (int j = 0; j < many; j++) {
        low[j] += high[j];
        scores[first + j] = folded(&low[j]);
    }
}

FOR_EACH_PROCESSOR static void find_errors(const Work *work)
{
    double *e = (double *)work->few;
    for (Py_ssize_t j = 0; j < work->classes; j++)
        fill_up(work->own + j * work->parts, work->weight + j * work->length, work->length, work->parts);
    for (Py_ssize_t i = 0; i < work->count; i++) {
        fill_up(work->row, work->rows + i * work->length, work->length, work->parts);
        Wide low = {0}, high = {0};
        for (Py_ssize_t t = 0; t < work->parts; t += 2) {
            low += work->row[t] * work->row[t];
            high += work->row[t + 1] * work->row[t + 1];
        }
        low += high;
        Py_ssize_t j = 0;
        for (; j + AT_ONCE <= work->classes; j += AT_ONCE)
            score(work, j, AT_ONCE, e);
        for (; j < work->classes; j++)
            score(work, j, 1, e);
        double most = e[0], sum = 0, norm = 0;
        for (j = 1; j < work->classes; j++)
            most = e[j] > most ? e[j] : most; /* a NaN that this passes over makes the sum NaN */
        for (j = 0; j < parts_of(work->classes); j++) {
            work->few[j] -= most;
            exponentiate(&work->few[j]);
        }
        for (j = 0; j < work->classes; j++)
            sum += e[j];
        for (j = 0; j < parts_of(work->classes); j++)
            work->few[j] /= sum;
        int64_t label = work->labels[i];
        int known = label >= 0 && label < work->classes;
        if (known)
            e[label] -= 1;
        for (j = 0; j < work->classes; j++) {
            e[j] = known ? e[j] : NAN;
            norm += e[j] * e[j];
        }
        memcpy(work->errors + i * work->classes, e, (size_t)work->classes * sizeof(double));
        work->norms[i] = sqrt(folded(&low) * norm);
    }
}

/* Squared length of the cells of `many` classes from `first` on. Of cells that pass, all sums are exact. What does not pass
 * is too long by a whole number at least, and rounding, which keeps order, cannot bring it back. NaN does not pass. */
INLINE double squared(const Wide *row, Py_ssize_t parts, const double *e, int many)
{
    Wide sums[AT_ONCE] = {{0}}, all = {0};
    for (Py_ssize_t t = 0; t < parts; t++)
        for (int j = 0; j < many; j++) {
            Wide cells = (e[j] * row[t] + ROUNDER) - ROUNDER;
            sums[j] += cells * cells;
        }
    for (int j = 0; j < many; j++)
        all += sums[j];
    return folded(&all);
}

/* The cells of `many` examples, whose rows lie one behind the other, into the sums of each class. */
INLINE void add_rows(const Work *work, const double *const *errors, int many)
{
    const Wide zero = {0};
    const Whole none = (Whole)(zero + ROUNDER);
    Whole *sums = (Whole *)work->own;
    for (Py_ssize_t j = 0; j < work->classes; j++)
        for (Py_ssize_t t = 0; t < work->parts; t++) {
            Whole sum = sums[j * work->parts + t];
            for (int i = 0; i < many; i++)
                sum += (Whole)(errors[i][j] * work->row[i * work->parts + t] + ROUNDER) - none;
            sums[j * work->parts + t] = sum;
        }
}

FOR_EACH_PROCESSOR static Py_ssize_t add_cells(const Work *work)
{
    const double *errors[TOGETHER];
    const uint64_t *sums = (const uint64_t *)work->own;
    Py_ssize_t left_out = 0;
    int waiting = 0;
    memset(work->own, 0, (size_t)(work->classes * work->parts) * sizeof(Wide));
    for (Py_ssize_t i = 0; i < work->count; i++) {
        const double *e = work->errors + i * work->classes;
        Wide *row = work->row + waiting * work->parts;
        fill_up(row, work->rows + i * work->length, work->length, work->parts);
        double length = 0;
        Py_ssize_t j = 0;
        for (; j + AT_ONCE <= work->classes; j += AT_ONCE)
            length += squared(row, work->parts, e + j, AT_ONCE);
        for (; j < work->classes; j++)
            length += squared(row, work->parts, e + j, 1);
        if (length <= work->limit)
            errors[waiting++] = e;
        else
            left_out++;
        if (waiting == TOGETHER) {
            add_rows(work, errors, TOGETHER);
            waiting = 0;
        }
    }
    for (int i = 0; i < waiting; i++) {
        if (i)
            memmove(work->row, work->row + i * work->parts, (size_t)work->parts * sizeof(Wide));
        add_rows(work, errors + i, 1);
    }
    for (Py_ssize_t j = 0; j < work->classes; j++)
        for (Py_ssize_t k = 0; k < work->length; k++)
            work->total[j * work->length + k] += sums[j * work->parts * WIDE + k];
    return left_out;
}

/* A buffer of float64 or int64 of that many dimensions, one number beside the other; 0 with an exception set if it is not. */
static int take(PyObject *object, Py_buffer *view, int writable, int floats, int dimensions, const char *name)
{
    if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0)) < 0) {
        view->obj = NULL;
        return 0;
    }
    const char *found = view->format == NULL ? "" : view->format;
    int kind = floats ? strcmp(found, "d") == 0 : strcmp(found, "l") == 0 || strcmp(found, "q") == 0;
    if (view->ndim == dimensions && view->itemsize == 8 && kind && (uintptr_t)view->buf % sizeof(double) == 0)
        return 1;
    PyErr_Format(PyExc_ValueError, "%s must have %d dimensions of type %s, aligned", name, dimensions, floats ? "float64" : "int64");
    return 0;
}

/* Memory of one call: a row, one for each class, and one number for each class; NULL with an exception set. */
static void *make_room(Work *work)
{
    work->parts = parts_of(work->length);
    Py_ssize_t most = PY_SSIZE_T_MAX / (Py_ssize_t)sizeof(Wide) / 4;
    if (work->classes < 1 || work->length < 1 || work->classes >= most / (work->parts + TOGETHER)) {
        PyErr_SetString(PyExc_ValueError, "there must be a class and a feature, and no more than memory can hold");
        return NULL;
    }
    Py_ssize_t whole = work->parts * (work->classes + TOGETHER) + parts_of(work->classes);
    char *memory = PyMem_Malloc(ALIGNMENT + (size_t)whole * sizeof(Wide));
    if (memory == NULL)
        return PyErr_NoMemory();
    work->row = (Wide *)(memory + (ALIGNMENT - (uintptr_t)memory % ALIGNMENT));
    work->own = work->row + TOGETHER * work->parts;
    work->few = work->own + work->classes * work->parts;
    memset(work->few, 0, (size_t)parts_of(work->classes) * sizeof(Wide));
    return memory;
}

static PyObject *errors(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *given[5], *answer = NULL;
    Py_buffer weight = {0}, rows = {0}, labels = {0}, out = {0}, norms = {0};
    void *memory = NULL;
    if (!PyArg_ParseTuple(arguments, "OOOOO:errors", &given[0], &given[1], &given[2], &given[3], &given[4]))
        return NULL;
    if (take(given[0], &weight, 0, 1, 2, "weight") && take(given[1], &rows, 0, 1, 2, "rows")
        && take(given[2], &labels, 0, 0, 1, "labels") && take(given[3], &out, 1, 1, 2, "errors")
        && take(given[4], &norms, 1, 1, 1, "norms")) {
        Work work = {.count = rows.shape[0], .classes = weight.shape[0], .length = weight.shape[1], .weight = weight.buf,
                     .rows = rows.buf, .labels = labels.buf, .errors = out.buf, .norms = norms.buf};
        if (rows.shape[1] != work.length || labels.shape[0] != work.count || norms.shape[0] != work.count
            || out.shape[0] != work.count || out.shape[1] != work.classes)
            PyErr_SetString(PyExc_ValueError, "rows, labels, errors and norms must be of as many examples, and fit the weights");
        else if ((memory = make_room(&work)) != NULL) {
            Py_BEGIN_ALLOW_THREADS
            find_errors(&work);
            Py_END_ALLOW_THREADS
            answer = Py_NewRef(Py_None);
        }
    }
    PyMem_Free(memory);
    PyBuffer_Release(&norms); /* does nothing to a buffer that was never taken */
    PyBuffer_Release(&out);
    PyBuffer_Release(&labels);
    PyBuffer_Release(&rows);
    PyBuffer_Release(&weight);
    return answer;
}

static PyObject *add_products(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *given[3], *answer = NULL;
    Py_buffer left = {0}, rows = {0}, total = {0};
    void *memory = NULL;
    double bound;
    if (!PyArg_ParseTuple(arguments, "OOdO:add_products", &given[0], &given[1], &bound, &given[2]))
        return NULL;
    if (take(given[0], &left, 0, 1, 2, "errors") && take(given[1], &rows, 0, 1, 2, "rows")
        && take(given[2], &total, 1, 0, 1, "total")) {
        Work work = {.count = rows.shape[0], .classes = left.shape[1], .length = rows.shape[1], .rows = rows.buf,
                     .errors = left.buf, .limit = bound * bound, .total = total.buf};
        if (left.shape[0] != work.count || !(bound >= 0 && bound <= LARGEST_BOUND))
            PyErr_SetString(PyExc_ValueError, "errors and rows must be of as many examples, and the bound between 0 and 2^26");
        else if ((memory = make_room(&work)) != NULL) {
            if (total.shape[0] != work.classes * work.length)
                PyErr_SetString(PyExc_ValueError, "total must have a number for each class and feature");
            else {
                Py_ssize_t left_out;
                Py_BEGIN_ALLOW_THREADS
                left_out = add_cells(&work);
                Py_END_ALLOW_THREADS
                answer = PyLong_FromSsize_t(left_out);
            }
        }
    }
    PyMem_Free(memory);
    PyBuffer_Release(&total);
    PyBuffer_Release(&rows);
    PyBuffer_Release(&left);
    return answer;
}

static PyMethodDef methods[] = {
    {"errors", errors, METH_VARARGS, "errors(weight, rows, labels, errors, norms): fills the last two"},
    {"add_products", add_products, METH_VARARGS, "add_products(errors, rows, bound, total): how many were left out"},
    {NULL, NULL, 0, NULL},
};

/* 0 where each result is rounded before it goes on; else more: (1 + 2^-30)² - (1 + 2^-29) is 2^-60 where the product is not,
 * and 1.25 would stay 1.25 instead of becoming a whole number. */
FOR_EACH_PROCESSOR static double left_over(const volatile double *x)
{
    Wide a = {x[0]}, b = {x[1]}, c = {x[2]};
    return (a * a - b)[0] + (x[0] * x[0] - x[1]) + (((c + ROUNDER) - ROUNDER)[0] - 1);
}

static int ready(PyObject *module)
{
    (void)module;
    const volatile double x[3] = {1 + 0x1p-30, 1 + 0x1p-29, 1.25};
    if (left_over(x) == 0)
        return 0;
    PyErr_SetString(PyExc_ImportError, "built so that results are not rounded one by one: not the bits that numpy computes");
    return -1;
}
#else
static PyMethodDef methods[] = {{NULL, NULL, 0, NULL}};

static int ready(PyObject *module)
{
    (void)module;
    PyErr_SetString(PyExc_ImportError, "built by another compiler than gcc or clang, or for another arithmetic than IEEE 754's");
    return -1;
}
#endif

static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)ready}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_head",
    .m_doc = "Gradients of a linear head and their sum in whole cells; see head_rows.py.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__head(void) { return PyModuleDef_Init(&definition); }
