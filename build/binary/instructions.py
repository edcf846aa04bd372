"""Instructions that a first processor of its kind does not have: none may stand where nothing asked for them first.

An old board ends such a program with SIGILL, and only when it comes by. Libraries that look at the processor before
they choose a routine are listed with the reason; whatever else is newer than the first ARMv8-A or the first x86-64 is
reported by function. Of a file with symbols: the build links a second one for this.

Sources: Arm Architecture Reference Manual for A-profile, C4 "A64 instruction set encoding" (masks below); Intel SDM
volume 2 and the x86-64 psABI's table of micro-architecture levels (baseline: CMOV, CX8, FPU, FXSR, MMX, SSE, SSE2).
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from build.binary.elf import STT_FUNC, Elf, Symbol


class Encoding(NamedTuple):
    """Instruction words with ``word & mask == value`` need *feature*."""

    mask: int
    value: int
    feature: str


# ARMv8.0-A without its optional parts. Hints (BTI, PACIASP, ...) are left out: an older processor passes over them.
A64: Final = tuple(
    Encoding(mask, value, feature)
    for feature, pairs in {
        # Regions of the encoding space that were empty.
        "sve": [(0x1E000000, 0x04000000)],
        "sme": [(0x9E000000, 0x80000000)],
        "unallocated": [(0x1E000000, 0x02000000), (0x1E000000, 0x06000000)],
        # Optional in ARMv8.0: a Pi 4 has no AES.
        "crc32": [(0x7FE0E000, 0x1AC04000)],
        "aes": [(0xFF3E0C00, 0x4E280800), (0xBFE0FC00, 0x0EE0E000)],
        "sha1, sha256": [(0xFF208C00, 0x5E000000), (0xFF3E0C00, 0x5E280800)],
        "sha512, sha3, sm3, sm4": [(0xFF000000, 0xCE000000)],
        # ARMv8.1
        "lse": [
            (0x3FA07C00, 0x08A07C00),  # CAS
            (0xBFA07C00, 0x08207C00),  # CASP
            (0x3B200C00, 0x38200000),  # LDADD, SWP and the like; LDAPR of 8.3
        ],
        "lor": [(0x3FA08000, 0x08800000)],
        "three same extra: rdm, dotprod, fcma, i8mm, bf16": [(0x9F208400, 0x0E008400), (0xDF208400, 0x5E008400)],
        "by element: rdm, dotprod, fcma, i8mm, fhm": [
            (0x9F00F400, 0x0F00E000),
            (0x9F00F400, 0x0F00F000),
            (0xBF00F400, 0x2F00D000),
            (0xBF009400, 0x2F001000),
            (0xBF00B400, 0x0F000000),
            (0xBF00B400, 0x2F008000),
            (0xFF00D400, 0x7F00D000),
        ],
        # ARMv8.2
        "fp16": [
            (0x9F60C400, 0x0E400400),
            (0xDF60C400, 0x5E400400),
            (0x9F7E0C00, 0x0E780800),
            (0xDF7E0C00, 0x5E780800),
            (0xBF3FFC00, 0x0E30C800),
            (0xBF3FFC00, 0x0E30F800),
            (0xFF3FFC00, 0x5E30C800),
            (0xFF3FFC00, 0x5E30D800),
            (0xFF3FFC00, 0x5E30F800),
            (0x9FC0B400, 0x0F001000),
            (0x9FC0F400, 0x0F009000),
            (0xDFC0B400, 0x5F001000),
            (0xDFC0F400, 0x5F009000),
            (0x5FE00000, 0x1EC00000),
            (0x5FE00000, 0x1EE00000),  # see WIDENING
            (0xFFC00000, 0x1FC00000),
            (0x9FF0FC00, 0x0F10E400),
            (0x9FF0FC00, 0x0F10FC00),
            (0xDFF0FC00, 0x5F10E400),
            (0xDFF0FC00, 0x5F10FC00),
            (0xBFF8FC00, 0x0F00FC00),
        ],
        "fhm": [(0xBF20FC00, 0x0E20EC00), (0xBF20FC00, 0x2E20CC00)],
        # ARMv8.3
        "pauth": [
            (0xFFFF0000, 0xDAC10000),
            (0xFFE0FC00, 0x9AC03000),
            (0xFE1FF800, 0xD61F0800),
            (0xFF200400, 0xF8200400),
        ],
        "jscvt": [(0xFFFFFC00, 0x1E7E0000)],
        # ARMv8.4 and later
        "rcpc2, mops": [(0x3F000000, 0x19000000), (0x3F000000, 0x1D000000)],
        "flagm": [(0xFFE07C10, 0xBA000400), (0xFFFFBC1F, 0x3A00080D), (0xFFF8F01F, 0xD500401F)],
        "frintts": [(0xFF3E7C00, 0x1E284000), (0x9FBFEC00, 0x0E21E800)],
        "rng": [(0xFFFFFFC0, 0xD53B2400)],
        "sb, wfxt": [(0xFFFFF0FF, 0xD50330FF), (0xFFFFFFC0, 0xD5031000)],
        "mte": [(0x1F800000, 0x11800000), (0x5FE0FC00, 0x1AC00000), (0x5FE0F800, 0x1AC01000)],
        "bf16": [(0xFFFFFC00, 0x1E634000), (0xBFFFFC00, 0x0EA16800)],
        "cssc": [(0x5FE0F000, 0x1AC06000), (0x7FFFF800, 0x5AC01800), (0x7FFFFC00, 0x5AC02000)],
    }.items()
    for mask, value in pairs
)
# FCVT from half to single and double precision: in the region of "fp16", and there from the beginning.
WIDENING: Final = (0xFFFF7C00, 0x1EE24000)

# Mnemonics of x86-64 past the baseline, beside all that begin with v (AVX and later), k (AVX-512's masks) and sha.
X86_EXACT: Final[Mapping[str, str]] = {
    mnemonic: feature
    for feature, mnemonics in {
        "sse3": "addsubpd addsubps haddpd haddps hsubpd hsubps lddqu movddup movshdup movsldup fisttp",
        "ssse3": "pabsb pabsd pabsw palignr phaddd phaddsw phaddw phsubd phsubsw phsubw pmaddubsw pmulhrsw pshufb "
        "psignb psignd psignw",
        "sse4.1": "blendpd blendps blendvpd blendvps dppd dpps extractps insertps movntdqa mpsadbw packusdw pblendvb "
        "pblendw pcmpeqq pextrb pextrd pextrq phminposuw pinsrb pinsrd pinsrq pmaxsb pmaxsd pmaxud pmaxuw "
        "pminsb pminsd pminud pminuw pmovsxbd pmovsxbq pmovsxbw pmovsxdq pmovsxwd pmovsxwq pmovzxbd "
        "pmovzxbq pmovzxbw pmovzxdq pmovzxwd pmovzxwq pmuldq pmulld ptest roundpd roundps roundsd roundss",
        "sse4.2": "crc32 pcmpestri pcmpestrm pcmpgtq pcmpistri pcmpistrm",
        "popcnt": "popcnt",
        "cx16": "cmpxchg16b",
        "lahf": "lahf sahf",
        "movbe": "movbe",
        "aes": "aesdec aesdeclast aesenc aesenclast aesimc aeskeygenassist",
        "pclmul": "pclmulqdq",
        "bmi": "andn bextr blsi blsmsk blsr lzcnt",
        "bmi2": "bzhi mulx pdep pext rorx sarx shlx shrx",
        "adx": "adcx adox",
        "random": "rdrand rdseed",
        "xsave": "xsave xsavec xsaveopt xrstor xgetbv",
        "gfni": "gf2p8affineinvqb gf2p8affineqb gf2p8mulb",
    }.items()
    for mnemonic in mnemonics.split()
}
UNREADABLE: Final = "unknown to capstone"  # so a newer one; what follows it in the function is not read
X86_BASELINE_V: Final = frozenset({"verr", "verw"})

# Functions that are called only after a look at the processor: a pattern of their names, and who looks.
OPENSSL_ON_X86: Final = "OpenSSL, crypto/cpuid.c: OPENSSL_ia32cap_P, from CPUID"
OPENSSL_ON_ARM: Final = "OpenSSL, crypto/armcap.c: OPENSSL_armcap_P, from getauxval(AT_HWCAP)"
DISPATCHED: Final[Mapping[str, Mapping[str, str]]] = {
    "aarch64": {
        r"aes_v8_\w+": OPENSSL_ON_ARM,
        r"(unroll8_eor3_)?aes_gcm_(enc|dec)_\d+_kernel": OPENSSL_ON_ARM,
        r"gcm_\w+_v8(_4x)?": OPENSSL_ON_ARM,
        r"sha\d+_block_armv8": OPENSSL_ON_ARM,
        r"KeccakF1600_ce": OPENSSL_ON_ARM,
        r"ChaCha20_ctr32_sve": OPENSSL_ON_ARM,
        r"OPENSSL_rndr(rs)?_asm": OPENSSL_ON_ARM,
        r"_armv8_\w+_probe": "OpenSSL, crypto/armcap.c: tried under a handler of SIGILL, and only without getauxval",
    },
    "x86_64": {
        r"(_?aesni|_bsaes|ossl_bsaes|_vpaes)_\w+": OPENSSL_ON_X86,
        r"__ocb_(en|de)crypt\d": OPENSSL_ON_X86,
        r"ChaCha20_\w+": OPENSSL_ON_X86,
        r"OPENSSL_ia32_\w+": OPENSSL_ON_X86,
        r"__ecp_nistz256_(mul|sqr)_montx": OPENSSL_ON_X86,
        r"ecp_nistz256_(ord_(mul|sqr)_montx|avx2_gather_w\d)": OPENSSL_ON_X86,
        r"(__rsaz_512|rsaz_512|rsaz_1024|ossl_rsaz_amm52x\d\d)_\w+": OPENSSL_ON_X86,
        r"ossl_extract_multiplier_\w+": OPENSSL_ON_X86,
        r"bn_mulx4x_mont|bn_sqrx8x_internal|mulx4x_internal": OPENSSL_ON_X86,
        r"gcm_(init|gmult|ghash)_(avx|clmul)": OPENSSL_ON_X86,
        r"poly1305_blocks_avx2?": OPENSSL_ON_X86,
        r"sha\d+_block_data_order_(avx2?|shaext|ssse3|xop)": OPENSSL_ON_X86,
        r"x25519_fe64_\w+": OPENSSL_ON_X86,
    },
}


def newer(elf: Elf) -> dict[str, set[str]]:
    """Functions that hold an instruction past the baseline -> the features that it needs."""
    find = {"aarch64": _newer_on_aarch64, "x86_64": _newer_on_x86_64}[elf.machine]
    functions = sorted(
        (symbol for symbol in elf.symbols() if symbol.kind == STT_FUNC),
        key=lambda symbol: (symbol.address, symbol.size),
    )
    found: dict[str, set[str]] = defaultdict(set)
    for address, feature in find(elf, functions):
        found[_function_at(functions, address)].add(feature)
    return dict(found)


def undispatched(found: Mapping[str, Iterable[str]], arch: str) -> dict[str, list[str]]:
    """Those of `newer` that no entry of `DISPATCHED` accounts for."""
    patterns = [re.compile(pattern) for pattern in DISPATCHED[arch]]
    return {
        function: sorted(features)
        for function, features in sorted(found.items())
        if not any(pattern.fullmatch(function) for pattern in patterns)
    }


def feature_of_a64(word: int) -> str | None:
    """What an A64 instruction word needs beyond ARMv8.0; None for one that every such processor has."""
    if word & WIDENING[0] == WIDENING[1]:
        return None
    return next((encoding.feature for encoding in A64 if word & encoding.mask == encoding.value), None)


def _newer_on_aarch64(elf: Elf, functions: list[Symbol]) -> Iterator[tuple[int, str]]:
    marks = _mapping_symbols(elf)
    needs: dict[int, str | None] = {}
    for number, section in elf.code():
        begins = marks.get(number, [(section.address, True)])
        for (begin, is_code), (end, _) in zip(
            begins, [*begins[1:], (section.address + section.size, True)], strict=True
        ):
            if not is_code:
                continue
            words = elf.data[section.offset + begin - section.address : section.offset + end - section.address]
            for index, (word,) in enumerate(struct.iter_unpack("<I", words[: len(words) & ~3])):
                if word not in needs:
                    needs[word] = feature_of_a64(word)
                feature = needs[word]
                if feature is not None:
                    yield begin + 4 * index, feature


def _mapping_symbols(elf: Elf) -> dict[int, list[tuple[int, bool]]]:
    """Where code ($x) and data ($d) begin in each section: ELF for the Arm 64-bit Architecture, "Mapping symbols"."""
    marks: dict[int, dict[int, bool]] = defaultdict(dict)
    for symbol in elf.symbols():
        if symbol.name[:2] in ("$x", "$d"):
            marks[symbol.section][symbol.address] = symbol.name[1] == "x"
    return {section: sorted(places.items()) for section, places in marks.items()}


def _newer_on_x86_64(elf: Elf, functions: list[Symbol]) -> Iterator[tuple[int, str]]:
    # Of the extra `build`: the lengths of x86 instructions are no table to write again.
    import capstone  # type: ignore[import-untyped]

    decode: Callable[..., Iterable[tuple[int, int, str, str]]] = capstone.Cs(
        capstone.CS_ARCH_X86, capstone.CS_MODE_64
    ).disasm_lite
    sections = dict(elf.code())
    seen = -1
    for function, after in zip(functions, [*functions[1:], None], strict=True):
        section = sections.get(function.section)
        if section is None:
            continue
        end = function.address + function.size
        if function.size == 0:  # musl's in assembler: nobody wrote where they end
            end = section.address + section.size if after is None else after.address
        # Between functions lie tables that are no code; aliases of one function are read once.
        if end <= seen:
            continue
        begin = section.offset + function.address - section.address
        at = function.address
        for address, length, mnemonic, _ in decode(elf.data[begin : begin + end - at], at):
            feature = _feature_of_x86(mnemonic)
            if feature is not None:
                yield address, feature
            at = address + length
        if at < end:
            yield at, UNREADABLE
        seen = end


def _feature_of_x86(mnemonic: str) -> str | None:
    name = mnemonic.rpartition(" ")[2]  # "lock cmpxchg16b"
    if name in X86_EXACT:
        return X86_EXACT[name]
    if name.startswith("v") and name not in X86_BASELINE_V:
        return "avx"
    if name.startswith("sha") or (name.startswith("k") and name[-1] in "bwdq"):
        return "sha" if name.startswith("sha") else "avx512"
    return None


def _function_at(functions: list[Symbol], address: int) -> str:
    index = bisect_right(functions, address, key=lambda symbol: symbol.address) - 1
    while index >= 0 and functions[index].address + functions[index].size <= address and functions[index].size:
        index -= 1
    return functions[index].name if index >= 0 else f"{address:#x}"
