"""Copies among images: of the same bytes, and those that look alike."""

import numpy as np
from scipy.fft import dct

SIDE = 32  # pixels of the small gray image that is hashed
FLAT = 4.0  # standard deviation, of 0 to 255, below which an image has no hash: all flat ones are alike
NEAR = 6  # bits of the 64 in which two images that look alike may differ
COSINES = dct(np.eye(SIDE), axis=0, norm="ortho")[:8].astype(np.float32)  # (8, SIDE), the lowest frequencies
BANDS, BAND = 4, 16  # of hashes that differ in 7 bits one of four bands differs in no more than one
BLOCK = 2**22  # pairs compared at once
ONES = np.array([bin(number).count("1") for number in range(2**16)], np.uint8)


def perceptual_hash(small):
    """The hash of small gray images, in which copies that were encoded again or resized differ in few bits.

    Each bit says whether one of the 8 x 8 lowest frequencies of the discrete cosine transform is above their median
    (pHash; Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010).

    Args:
        small: float32 (N, SIDE, SIDE), 0 to 255.

    Returns:
        uint64 (N,), 0 for flat images.
    """
    frequencies = (COSINES @ small @ COSINES.T).reshape(-1, 64)
    bits = frequencies > np.median(frequencies, axis=1, keepdims=True)
    return np.where(small.std((1, 2)) < FLAT, 0, np.packbits(bits, axis=1).view(">u8")[:, 0]).astype(np.uint64)


def nearest(hashes, among):
    """Find for each hash the nearest of others.

    Args:
        hashes, among: uint64 (N,) and (M,), none of them 0.

    Returns:
        (positions in `among`, -1 where none is within NEAR bits; the numbers of bits that differ).
    """
    hashes, back = np.unique(hashes, return_inverse=True)
    among, position = np.unique(among, return_index=True)
    best = np.full(len(hashes), 2**63 - 1, np.int64)  # bits * 2**32 + position
    for shift in range(0, BANDS * BAND, BAND):
        mine, others = ((values >> np.uint64(shift)).astype(np.int64) & (2**BAND - 1) for values in (hashes, among))
        order = np.argsort(others)
        start = np.searchsorted(others[order], np.arange(2**BAND + 1))
        for flip in [0, *(1 << bit for bit in range(BAND))]:
            first = start[mine ^ flip]
            count = start[(mine ^ flip) + 1] - first
            ends = np.flatnonzero(np.diff(count.cumsum() // BLOCK)) + 1
            for rows in np.split(np.arange(len(hashes)), ends):
                each = np.repeat(rows, count[rows])
                before = np.repeat(count[rows].cumsum() - count[rows], count[rows])
                other = order[first[each] + np.arange(len(each)) - before]
                bits = ONES[(hashes[each] ^ among[other])[:, None].view(np.uint16)].sum(1, dtype=np.int64)
                near = bits <= NEAR
                np.minimum.at(best, each[near], (bits[near] << 32) + position[other[near]])
    found = best < 2**63 - 1
    return np.where(found, best & (2**32 - 1), -1)[back], np.where(found, best >> 32, 64)[back]


def same_bytes(digests):
    """The groups of equal digests (N, 2), each a sorted array of positions, in the order of their first."""
    order = np.lexsort(digests.T)
    new = np.flatnonzero((digests[order][1:] != digests[order][:-1]).any(1)) + 1
    return sorted((np.sort(group) for group in np.split(order, new) if len(group) > 1), key=lambda group: group[0])
