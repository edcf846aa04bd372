/* The executable's main: an interpreter that looks at nothing outside this file, then moltbot_edge.__main__.main().

   Not Py_RunMain: that one wants a command line of Python's, a file or a module to run, and a prefix to search. What a
   caller sees at the end is the same: an exit status from SystemExit, a traceback and 1, death by SIGINT, 120 for
   output that could not be written (Modules/main.c, Py_RunMain; Python/pylifecycle.c, Py_Exit).

   Source: "Python Initialization Configuration", docs.python.org/3.13/c-api/init_config.html. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

enum { UNRAISABLE_OUTPUT = 120, KILLED_BY_SIGINT = 128 + SIGINT };

static void must(PyStatus status)
{
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
}

/* This file's path, for sys.executable and for the archive at its end. The kernel tells it at the start: there need
   not be a /proc. */
static void own_path(const char *called, char path[PATH_MAX])
{
    const char *told = (const char *)getauxval(AT_EXECFN);
    if (told && realpath(told, path))
        return;
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - 1);
    if (length > 0) {
        path[length] = '\0';
        return;
    }
    strncpy(path, called ? called : "", PATH_MAX - 1);
    path[PATH_MAX - 1] = '\0';
}

static void start(int argc, char **argv)
{
    static char path[PATH_MAX];
    own_path(argc ? argv[0] : NULL, path);

    PyPreConfig before;
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;
    before.configure_locale = 0;
    /* musl's malloc takes 2.6 times as long for objects above 512 bytes, which Python's own arenas leave to it. */
    before.allocator = PYMEM_ALLOCATOR_MIMALLOC;
    must(Py_PreInitialize(&before));

    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config.site_import = 0;
    config.write_bytecode = 0;
    config.parse_argv = 0;
    config.install_signal_handlers = 1;
    config.pathconfig_warnings = 0;
    config.use_frozen_modules = 1;
#ifdef IMPORT_TIME
    config.import_time = 1;
#endif
    must(PyConfig_SetBytesString(&config, &config.program_name, path));
    must(PyConfig_SetBytesString(&config, &config.executable, path));
    must(PyConfig_SetBytesString(&config, &config.base_executable, path));
    /* Everything is frozen: with all of these said, and no path to search, nothing is looked for on the disk. */
    wchar_t **nowhere[] = {&config.prefix, &config.exec_prefix, &config.base_prefix, &config.base_exec_prefix,
                           &config.stdlib_dir};
    for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++)
        must(PyConfig_SetString(&config, nowhere[i], L""));
    must(PyConfig_SetString(&config, &config.platlibdir, L"lib"));
    config.module_search_paths_set = 1;
    must(PyConfig_SetBytesArgv(&config, argc, argv));
    must(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
}

int main(int argc, char **argv)
{
    start(argc, argv);
    /* What packagers for other forms set, and libraries ask for. */
    PySys_SetObject("frozen", Py_True);

    int status = 0, interrupted = 0;
    PyObject *module = PyImport_ImportModule("moltbot_edge.__main__");
    PyObject *result = module ? PyObject_CallMethod(module, "main", NULL) : NULL;
    if (!result) {
        interrupted = PyErr_ExceptionMatches(PyExc_KeyboardInterrupt);
        status = 1;
        PyErr_Print(); /* does not come back from a SystemExit */
    }
    Py_XDECREF(result);
    Py_XDECREF(module);
    if (Py_FinalizeEx() < 0)
        status = UNRAISABLE_OUTPUT;
    if (interrupted) {
        /* A shell that runs a script stops there only if its child died by the signal. */
        signal(SIGINT, SIG_DFL);
        kill(getpid(), SIGINT);
        status = KILLED_BY_SIGINT;
    }
    return status;
}
