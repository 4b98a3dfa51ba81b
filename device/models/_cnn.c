/* Scores and gradient of the small convolutional network of cnn.py, for a batch: what it computes in numpy, faster.
 *
 * A picture's patches are never written down. Of each pooling window the four sums are made in registers, and only the
 * largest is kept, with its place. On the way back only that place has a gradient, and where the ReLU is shut none has: so
 * the second convolution's two products on the way back are sums over an eighth of what the dense ones go through.
 *
 * Sums are in float32, in an order that depends on the batch's size alone. Products and sums may be joined into one
 * rounding, where the processor does that: so results differ between processors in the last bits, as with any BLAS.
 *
 * No state but which version is taken, no Python object touched while the lock is released. What is read or written lies
 * inside the buffers that were given, and in memory of the call's own; labels are copied and checked before, so that nobody
 * changes them afterwards.
 */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__) && !defined(__FAST_MATH__) && !__FINITE_MATH_ONLY__

#define ALIGNMENT 64
#define AT_ONCE 16 /* pictures that are gone through together: what is kept of them is 430 kB */

#define SIDE 28
#define TAPS 9
#define MAPS1 16 /* channels of the first convolution */
#define POOLED1 12
#define MAPS2 32 /* of the second */
#define POOLED2 5
#define PATCH 144 /* numbers under the second kernel: 3 rows of ROW */
#define ROW 48
#define FLAT 800
#define HIDDEN 120

/* Of one picture, kept until its way back. Places: 0 to 3, which of its window, in reading order. */
typedef struct {
    float pool1[POOLED1 * POOLED1][MAPS1]; /* by rows, columns, channels */
    int32_t where1[POOLED1 * POOLED1][MAPS1];
    float flat[FLAT]; /* by channels, rows, columns */
    int8_t where2[FLAT];
    float hidden[HIDDEN];
    float by_hidden[HIDDEN];
    float by_flat[FLAT];
} __attribute__((aligned(ALIGNMENT))) Picture;

typedef struct {
    float kernel1[TAPS][MAPS1];
    float kernel2[PATCH][MAPS2];
    float turned2[MAPS2][PATCH];
    float by_kernel1[TAPS][MAPS1];
    float by_kernel2[MAPS2][PATCH];
    float by_pool1[POOLED1 * POOLED1][MAPS1];
    Picture pictures[];
} __attribute__((aligned(ALIGNMENT))) Room;

typedef struct {
    Py_ssize_t count, classes;
    const float *x; /* count x 28 x 28 */
    const float *conv1, *bias1, *conv2, *bias2, *fc1, *fc1_bias, *fc2, *fc2_bias;
    const int64_t *labels; /* count, checked; NULL for scores alone */
    float *by_conv1, *by_bias1, *by_conv2, *by_bias2, *by_fc1, *by_fc1_bias, *by_fc2, *by_fc2_bias;
    float *scores; /* count x classes; on the way back, errors of the pictures that are gone through together */
    Room *room;
} Work;

/* The passes, for each kind of processor. Each function says for which it is, since gcc takes vectors apart that its
 * function's processor does not have, before it joins functions. */
#define FOR_PROCESSOR
#define RUN run_plain
#define LANES 4
#include "_cnn_pass.h"

#if defined(__x86_64__)
#define FOR_PROCESSOR , target("avx2,fma")
#define RUN run_avx2
#define LANES 8
#include "_cnn_pass.h"

#define FOR_PROCESSOR , target("avx512f,avx2,fma")
#define RUN run_avx512
#define LANES 16
#include "_cnn_pass.h"
#endif

static const struct { const char *name; void (*run)(const Work *); } versions[] = { /* the widest last */
    {"plain", run_plain},
#if defined(__x86_64__)
    {"avx2", run_avx2},
    {"avx512", run_avx512},
#endif
};

static int is_here(size_t version)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return version == 0 || (avx2 && (version == 1 || __builtin_cpu_supports("avx512f")));
#else
    return version == 0;
#endif
}

static void (*run_here)(const Work *) = run_plain;

/* Kernels as the passes read them. */
static void turn(const Work *work)
{
    Room *room = work->room;
    for (int m = 0; m < MAPS1; m++)
        for (int t = 0; t < TAPS; t++)
            room->kernel1[t][m] = work->conv1[m * TAPS + t];
    for (int m = 0; m < MAPS2; m++)
        for (int k = 0; k < MAPS1; k++)
            for (int t = 0; t < TAPS; t++)
                room->kernel2[t * MAPS1 + k][m] = room->turned2[m][t * MAPS1 + k] = work->conv2[(m * MAPS1 + k) * TAPS + t];
}

/* Their gradients as the network has them. */
static void turn_back(const Work *work)
{
    const Room *room = work->room;
    for (int m = 0; m < MAPS1; m++)
        for (int t = 0; t < TAPS; t++)
            work->by_conv1[m * TAPS + t] = room->by_kernel1[t][m];
    for (int m = 0; m < MAPS2; m++)
        for (int k = 0; k < MAPS1; k++)
            for (int t = 0; t < TAPS; t++)
                work->by_conv2[(m * MAPS1 + k) * TAPS + t] = room->by_kernel2[m][t * MAPS1 + k];
}

static void run(const Work *work)
{
    turn(work);
    if (work->labels == NULL) {
        run_here(work);
        return;
    }
    memset(work->room->by_kernel1, 0, sizeof work->room->by_kernel1);
    memset(work->room->by_kernel2, 0, sizeof work->room->by_kernel2);
    memset(work->by_bias1, 0, MAPS1 * sizeof(float));
    memset(work->by_bias2, 0, MAPS2 * sizeof(float));
    memset(work->by_fc1_bias, 0, (size_t)(HIDDEN + work->classes * (HIDDEN + 1)) * sizeof(float)); /* to the vector's end */
    run_here(work);
    turn_back(work);
}

#define BEFORE_CLASSES (MAPS1 * TAPS + MAPS1 + MAPS2 * PATCH + MAPS2 + HIDDEN * FLAT + HIDDEN) /* weights */

/* A buffer of float32 or int64 of that many dimensions, one number beside the other; 0 with an exception set if it is not. */
static int take(PyObject *object, Py_buffer *view, int writable, int floats, int dimensions, const char *name)
{
    if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0)) < 0) {
        view->obj = NULL;
        return 0;
    }
    const char *found = view->format == NULL ? "" : view->format;
    int kind = floats ? strcmp(found, "f") == 0 : strcmp(found, "l") == 0 || strcmp(found, "q") == 0;
    Py_ssize_t size = floats ? sizeof(float) : sizeof(int64_t);
    if (view->ndim == dimensions && view->itemsize == size && kind && (uintptr_t)view->buf % (size_t)size == 0)
        return 1;
    PyErr_Format(PyExc_ValueError, "%s must have %d dimensions of type %s, aligned", name, dimensions, floats ? "float32" : "int64");
    return 0;
}

/* Where each tensor lies in a flat vector. */
static void lay_out(Py_ssize_t classes, const float *vector, const float **tensors)
{
    const Py_ssize_t sizes[] = {MAPS1 * TAPS, MAPS1, MAPS2 * PATCH, MAPS2, HIDDEN * FLAT, HIDDEN, HIDDEN * classes};
    tensors[0] = vector;
    for (int i = 0; i < 7; i++)
        tensors[i + 1] = tensors[i] + sizes[i];
}

/* The arguments of a pass, checked: weights, pictures, and one row of `classes` for each. 0 with an exception set. */
static int fits(Work *work, const Py_buffer *weights, const Py_buffer *x)
{
    const Py_ssize_t last = weights->shape[0] - BEFORE_CLASSES; /* divided: scores of no picture may have any number of classes */
    if (work->classes < 1 || last % (HIDDEN + 1) != 0 || last / (HIDDEN + 1) != work->classes) {
        PyErr_SetString(PyExc_ValueError, "weights must be those of the network for so many classes");
        return 0;
    }
    if (x->shape[0] != work->count || x->shape[1] != 1 || x->shape[2] != SIDE || x->shape[3] != SIDE) {
        PyErr_SetString(PyExc_ValueError, "pictures must be 1 x 28 x 28, and as many as labels or scores");
        return 0;
    }
    const float *tensors[8];
    lay_out(work->classes, weights->buf, tensors);
    work->conv1 = tensors[0], work->bias1 = tensors[1], work->conv2 = tensors[2], work->bias2 = tensors[3];
    work->fc1 = tensors[4], work->fc1_bias = tensors[5], work->fc2 = tensors[6], work->fc2_bias = tensors[7];
    work->x = x->buf;
    return 1;
}

/* Memory of one call, with `more` bytes behind it; NULL with an exception set. */
static void *make_room(Work *work, size_t more, char **rest)
{
    size_t pictures = (size_t)(work->count < AT_ONCE ? work->count : AT_ONCE);
    size_t own = sizeof(Room) + pictures * sizeof(Picture);
    char *memory = PyMem_Malloc(ALIGNMENT + own + more);
    if (memory == NULL)
        return PyErr_NoMemory();
    work->room = (Room *)(memory + (ALIGNMENT - (uintptr_t)memory % ALIGNMENT));
    *rest = (char *)work->room + own;
    return memory;
}

static PyObject *scores(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *given[3], *answer = NULL;
    Py_buffer weights = {0}, x = {0}, out = {0};
    void *memory = NULL;
    char *rest = NULL;
    if (!PyArg_ParseTuple(arguments, "OOO:scores", &given[0], &given[1], &given[2]))
        return NULL;
    if (take(given[0], &weights, 0, 1, 1, "weights") && take(given[1], &x, 0, 1, 4, "pictures")
        && take(given[2], &out, 1, 1, 2, "scores")) {
        Work work = {.count = out.shape[0], .classes = out.shape[1], .scores = out.buf};
        if (fits(&work, &weights, &x) && (memory = make_room(&work, 0, &rest)) != NULL) {
            Py_BEGIN_ALLOW_THREADS
            run(&work);
            Py_END_ALLOW_THREADS
            answer = Py_NewRef(Py_None);
        }
    }
    PyMem_Free(memory);
    PyBuffer_Release(&out); /* does nothing to a buffer that was never taken */
    PyBuffer_Release(&x);
    PyBuffer_Release(&weights);
    return answer;
}

static PyObject *gradient(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *given[4], *answer = NULL;
    Py_buffer weights = {0}, x = {0}, labels = {0}, out = {0};
    void *memory = NULL;
    char *rest = NULL;
    if (!PyArg_ParseTuple(arguments, "OOOO:gradient", &given[0], &given[1], &given[2], &given[3]))
        return NULL;
    if (take(given[0], &weights, 0, 1, 1, "weights") && take(given[1], &x, 0, 1, 4, "pictures")
        && take(given[2], &labels, 0, 0, 1, "labels") && take(given[3], &out, 1, 1, 1, "gradient")) {
        Work work = {.count = labels.shape[0], .classes = (weights.shape[0] - BEFORE_CLASSES) / (HIDDEN + 1)};
        if (out.shape[0] != weights.shape[0] || work.count < 1)
            PyErr_SetString(PyExc_ValueError, "the gradient must be as long as the weights, and there must be a picture");
        else if (fits(&work, &weights, &x)) {
            size_t errors = AT_ONCE * (size_t)work.classes * sizeof(float); /* like labels, less than what was given: never wraps */
            memory = make_room(&work, (size_t)work.count * sizeof(int64_t) + errors, &rest);
        }
        if (memory != NULL) {
            int64_t *own = (int64_t *)rest;
            memcpy(own, labels.buf, (size_t)work.count * sizeof(int64_t));
            int known = 1;
            for (Py_ssize_t i = 0; i < work.count; i++)
                known = known && own[i] >= 0 && own[i] < work.classes;
            if (!known)
                PyErr_SetString(PyExc_IndexError, "labels must be those of a class");
            else {
                const float *tensors[8];
                lay_out(work.classes, out.buf, tensors);
                work.by_conv1 = (float *)tensors[0], work.by_bias1 = (float *)tensors[1], work.by_conv2 = (float *)tensors[2];
                work.by_bias2 = (float *)tensors[3], work.by_fc1 = (float *)tensors[4], work.by_fc1_bias = (float *)tensors[5];
                work.by_fc2 = (float *)tensors[6], work.by_fc2_bias = (float *)tensors[7];
                work.labels = own;
                work.scores = (float *)(own + work.count);
                Py_BEGIN_ALLOW_THREADS
                run(&work);
                Py_END_ALLOW_THREADS
                answer = Py_NewRef(Py_None);
            }
        }
    }
    PyMem_Free(memory);
    PyBuffer_Release(&out);
    PyBuffer_Release(&labels);
    PyBuffer_Release(&x);
    PyBuffer_Release(&weights);
    return answer;
}

/* For tests: whatever comes after takes that version. */
static PyObject *choose(PyObject *module, PyObject *arguments)
{
    (void)module;
    const char *name;
    if (!PyArg_ParseTuple(arguments, "s:choose", &name))
        return NULL;
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++)
        if (strcmp(versions[i].name, name) == 0 && is_here(i)) {
            run_here = versions[i].run;
            return Py_NewRef(Py_None);
        }
    PyErr_Format(PyExc_LookupError, "this processor has no version %s", name);
    return NULL;
}

static PyMethodDef methods[] = {
    {"scores", scores, METH_VARARGS, "scores(weights, x, scores): fills the last"},
    {"gradient", gradient, METH_VARARGS, "gradient(weights, x, labels, gradient): fills the last"},
    {"choose", choose, METH_VARARGS, "choose(name): the version to be taken from now on; for tests"},
    {NULL, NULL, 0, NULL},
};

static int ready(PyObject *module)
{
    (void)module;
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++)
        if (is_here(i))
            run_here = versions[i].run;
    return 0;
}
#else
static PyMethodDef methods[] = {{NULL, NULL, 0, NULL}};

static int ready(PyObject *module)
{
    (void)module;
    PyErr_SetString(PyExc_ImportError, "built by another compiler than gcc or clang, or so that NaN is not expected");
    return -1;
}
#endif

static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)ready}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_cnn",
    .m_doc = "Scores and gradient of the small convolutional network; see cnn.py.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__cnn(void) { return PyModuleDef_Init(&definition); }
