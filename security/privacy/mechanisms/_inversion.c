/* Samples of symmetric integer noise from uniform words, by inversion of a table: inversion.py says what and why, and does the
 * same in numpy in four passes. Integers only.
 *
 * No state, no Python object touched while the lock is released. What is read or written lies inside the buffers that were
 * given: every number of an entry is compared with the table's length before it is used.
 */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define AT_ONCE 64 /* words whose places in the guide are read before any of them is needed */
#define MAGNITUDE 63 /* bits of a word that are looked up; the last one is the sign */

typedef struct {
    const uint64_t *words;
    Py_ssize_t count;
    const uint64_t *high; /* ascending, the last one above every number that is looked up */
    uint64_t size;
    const int32_t *guide;
    int shift;            /* of a number, so that it is a place in the guide */
    int64_t *out;
} Work;

/* The first entry from `first` on that is not below `key`; `size` where there is none. */
static uint64_t search(const uint64_t *high, uint64_t first, uint64_t size, uint64_t key)
{
    while (first < size) {
        uint64_t middle = first + (size - first) / 2;
        if (high[middle] < key)
            first = middle + 1;
        else
            size = middle;
    }
    return first;
}

/* How many numbers were equal to their entry, so that more bits must decide; -1 where guide and table do not fit. */
static Py_ssize_t look_up(const Work *work)
{
    Py_ssize_t ties = 0;
    uint64_t found[AT_ONCE];
    for (Py_ssize_t first = 0; first < work->count; first += AT_ONCE) {
        int many = work->count - first < AT_ONCE ? (int)(work->count - first) : AT_ONCE;
        for (int i = 0; i < many; i++)
            found[i] = (uint64_t)(int64_t)work->guide[work->words[first + i] >> 1 >> work->shift];
        for (int i = 0; i < many; i++) {
            uint64_t word = work->words[first + i], key = word >> 1, at = found[i];
            if (at >= work->size)
                return -1;
            at += work->high[at] < key;
            if (at < work->size && work->high[at] < key)
                at = search(work->high, at + 1, work->size, key);
            if (at >= work->size)
                return -1;
            ties += work->high[at] == key;
            work->out[first + i] = word & 1 ? -(int64_t)at : (int64_t)at;
        }
    }
    return ties;
}

/* A buffer of one dimension, one number beside the other; 0 with an exception set if it is not. */
static int take(PyObject *object, Py_buffer *view, int writable, const char *formats, Py_ssize_t itemsize, const char *name)
{
    if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0)) < 0) {
        view->obj = NULL;
        return 0;
    }
    const char *found = view->format == NULL ? "" : view->format;
    if (view->ndim == 1 && view->itemsize == itemsize && strlen(found) == 1 && strchr(formats, found[0]) != NULL
        && (uintptr_t)view->buf % (size_t)itemsize == 0)
        return 1;
    PyErr_Format(PyExc_ValueError, "%s must have one dimension of a type of %s, aligned", name, formats);
    return 0;
}

static PyObject *look_up_all(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *given[4], *answer = NULL;
    Py_buffer words = {0}, high = {0}, guide = {0}, out = {0};
    if (!PyArg_ParseTuple(arguments, "OOOO:look_up", &given[0], &given[1], &given[2], &given[3]))
        return NULL;
    if (take(given[0], &words, 0, "LQ", sizeof(uint64_t), "words") && take(given[1], &high, 0, "LQ", sizeof(uint64_t), "high")
        && take(given[2], &guide, 0, "il", sizeof(int32_t), "guide") && take(given[3], &out, 1, "lq", sizeof(int64_t), "out")) {
        Work work = {words.buf, words.shape[0], high.buf, (uint64_t)high.shape[0], guide.buf, MAGNITUDE, out.buf};
        while (work.shift > 1 && (Py_ssize_t)1 << (MAGNITUDE - work.shift) < guide.shape[0])
            work.shift--;
        if (out.shape[0] != work.count || guide.shape[0] != (Py_ssize_t)1 << (MAGNITUDE - work.shift))
            PyErr_SetString(PyExc_ValueError, "out must be as long as words, and guide's length a power of two");
        else {
            Py_ssize_t ties;
            Py_BEGIN_ALLOW_THREADS
            ties = look_up(&work);
            Py_END_ALLOW_THREADS
            if (ties < 0)
                PyErr_SetString(PyExc_ValueError, "the guide leads beyond the table, or the table has no closing entry");
            else
                answer = PyLong_FromSsize_t(ties);
        }
    }
    PyBuffer_Release(&out); /* does nothing to a buffer that was never taken */
    PyBuffer_Release(&guide);
    PyBuffer_Release(&high);
    PyBuffer_Release(&words);
    return answer;
}

static PyMethodDef methods[] = {
    {"look_up", look_up_all, METH_VARARGS, "look_up(words, high, guide, out): how many of them more bits must decide"},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_inversion",
    .m_doc = "Samples of integer noise from a table; see inversion.py.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__inversion(void) { return PyModuleDef_Init(&definition); }
