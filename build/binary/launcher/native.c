/* moltbot_edge._native: what the product asks of the executable that it is in, and of the system where ctypes would be
   used elsewhere. Its types are in moltbot_edge/_native.pyi. A bundle has it as a file, with NO_FROZEN_PAGES defined:
   there, bytecode is in no program. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#ifndef NO_FROZEN_PAGES
extern const unsigned char frozen_blob[], frozen_blob_end[];

PyDoc_STRVAR(release_frozen_pages_doc, "Give the bytecode's pages back; how many bytes. One that is needed again comes "
                                       "from the file.");

static PyObject *release_frozen_pages(PyObject *self, PyObject *unused)
{
    /* Clean pages of a private mapping of the file: madvise(2), MADV_DONTNEED. Before, the kernel is told not to map
       this part by 2 MiB at once, as it does from Linux 6.16 on where the file lies in memory so: else the next look at
       the tables beside it would bring most of it back. A kernel without huge pages refuses, and need not be told. */
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)frozen_blob + page - 1) & ~(page - 1);
    uintptr_t end = (uintptr_t)frozen_blob_end & ~(page - 1);
    madvise((void *)begin, end - begin, MADV_NOHUGEPAGE);
    if (madvise((void *)begin, end - begin, MADV_DONTNEED) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    return PyLong_FromSize_t(end - begin);
}
#endif

PyDoc_STRVAR(set_parent_death_signal_doc, "Ask for this signal when the parent ends; prctl(2), PR_SET_PDEATHSIG. "
                                          "0 asks for none.");

static PyObject *set_parent_death_signal(PyObject *self, PyObject *argument)
{
    long number = PyLong_AsLong(argument);
    if (number == -1 && PyErr_Occurred())
        return NULL;
    if (prctl(PR_SET_PDEATHSIG, number) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
#ifndef NO_FROZEN_PAGES
    {"release_frozen_pages", release_frozen_pages, METH_NOARGS, release_frozen_pages_doc},
#endif
    {"set_parent_death_signal", set_parent_death_signal, METH_O, set_parent_death_signal_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "moltbot_edge._native",
    .m_size = 0,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__moltbot_edge_native(void)
{
    return PyModuleDef_Init(&definition);
}
