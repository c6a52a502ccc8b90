"""A GRU layer over whole sequences on an NVIDIA GPU: one kernel each way, a block of 16 sequences a program.

A program holds its hidden state in registers and the recurrent weights in shared memory, and walks over all steps
alone, so that several networks on streams of their own fill a GPU with few programs each. cuDNN's kernel for half
precision needs as long forwards and three times as long backwards on an H100 (3x64, batch 192), and above 128 units it
launches kernels for every step. docs/many-machines.md has the figures, `make gpu` the ratios on another card.

Equations are those of `nn.GRU`:
    r, z = sigmoid(W_i x + b_i + W_h h + b_h)   q = W_hn h + b_hn   n = tanh(W_in x + b_in + r q)   h' = n + z (h - n)

Triton's blocks are powers of two. A hidden size such as 144 is computed as two groups of columns, 128 + 16: group 1
exists where its width C is not 0. Weights are half precision (3H, H), products are summed in float32.

Imported only where Triton is: it comes with torch's builds for CUDA.
"""

import triton
import triton.language as tl

ROWS = 16  # sequences a program: the fewest rows of a tensor core's product


@triton.jit
def _sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def _tanh(x):
    return 2.0 / (1.0 + tl.exp(-2.0 * x)) - 1.0


@triton.jit
def _weights(w, gate: tl.constexpr, k0: tl.constexpr, K: tl.constexpr, j0: tl.constexpr, J: tl.constexpr,
             H: tl.constexpr, BACK: tl.constexpr):  # fmt: skip
    """Tile (K, J) of a gate's recurrent weights for a product with h (16, K), or with BACK for one with gradients of
    the gate; zeros outside H."""
    k = (k0 + tl.arange(0, K))[:, None]
    j = (j0 + tl.arange(0, J))[None, :]
    at = k * H + j if BACK else j * H + k
    return tl.load(w + gate * H * H + at, mask=(k < H) & (j < H), other=0.0)


@triton.jit
def _bias(b, gate: tl.constexpr, j0: tl.constexpr, J: tl.constexpr, H: tl.constexpr):
    """(1, J) float32."""
    j = j0 + tl.arange(0, J)
    return tl.load(b + gate * H + j, mask=j < H, other=0.0).to(tl.float32)[None, :]


@triton.jit
def _product(a0, w0, a1, w1, TWO: tl.constexpr):
    """a0 w0 + a1 w1, the second only where there are two groups."""
    found = tl.dot(a0, w0)
    if TWO:
        found = tl.dot(a1, w1, acc=found)
    return found


@triton.jit
def _inputs(p, live, H: tl.constexpr):
    """What one group of columns needs of one step: W_i x of r, z and n."""
    r = tl.load(p, mask=live, other=0.0)
    z = tl.load(p + H, mask=live, other=0.0)
    n = tl.load(p + 2 * H, mask=live, other=0.0)
    return r, z, n


@triton.jit
def _advance(h, ar, az, an, q, yp, sp, live, H: tl.constexpr, KEEP: tl.constexpr):
    """The next hidden state (16, J) of a group, stored; `ar`, `az`: sums before the sigmoid, `an`: inputs of n."""
    r = _sigmoid(ar)
    z = _sigmoid(az)
    n = _tanh(an + r * q)
    h = n + z * (h - n)
    half = yp.dtype.element_ty
    tl.store(yp, h.to(half), mask=live)
    if KEEP:
        tl.store(sp, r.to(half), mask=live)
        tl.store(sp + H, z.to(half), mask=live)
        tl.store(sp + 2 * H, n.to(half), mask=live)
        tl.store(sp + 3 * H, q.to(half), mask=live)
    return h


# The two kernels are longer than a function should be: a kernel cannot be divided without losing its registers.


@triton.jit(do_not_specialize=["T", "B"])
def forward(x, w, b_ih, b_hh, y, kept, T, B, H: tl.constexpr, A: tl.constexpr, C: tl.constexpr, ROWS: tl.constexpr,
            KEEP: tl.constexpr):  # fmt: skip
    """x: W_i x (T, B, 3H), without biases; y: (T, B, H); kept: r, z, n, q (T, B, 4H), written with KEEP."""
    TWO: tl.constexpr = C > 0
    rows = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None]
    cols = tl.arange(0, A)[None, :]
    live = (rows < B) & (cols < H)
    wr = _weights(w, 0, 0, A, 0, A, H, False)
    wz = _weights(w, 1, 0, A, 0, A, H, False)
    wn = _weights(w, 2, 0, A, 0, A, H, False)
    br = _bias(b_ih, 0, 0, A, H) + _bias(b_hh, 0, 0, A, H)
    bz = _bias(b_ih, 1, 0, A, H) + _bias(b_hh, 1, 0, A, H)
    bn = _bias(b_ih, 2, 0, A, H)
    bq = _bias(b_hh, 2, 0, A, H)
    h = tl.zeros((ROWS, A), tl.float32)
    xp = x + rows * (3 * H)
    yp = y + rows * H
    kp = kept + rows * (4 * H)
    ir, iz, iq = _inputs(xp + cols, live, H)
    if TWO:
        cols1 = A + tl.arange(0, C)[None, :]
        live1 = (rows < B) & (cols1 < H)
        wr01 = _weights(w, 0, 0, A, A, C, H, False)
        wz01 = _weights(w, 1, 0, A, A, C, H, False)
        wn01 = _weights(w, 2, 0, A, A, C, H, False)
        wr10 = _weights(w, 0, A, C, 0, A, H, False)
        wz10 = _weights(w, 1, A, C, 0, A, H, False)
        wn10 = _weights(w, 2, A, C, 0, A, H, False)
        wr11 = _weights(w, 0, A, C, A, C, H, False)
        wz11 = _weights(w, 1, A, C, A, C, H, False)
        wn11 = _weights(w, 2, A, C, A, C, H, False)
        br1 = _bias(b_ih, 0, A, C, H) + _bias(b_hh, 0, A, C, H)
        bz1 = _bias(b_ih, 1, A, C, H) + _bias(b_hh, 1, A, C, H)
        bn1 = _bias(b_ih, 2, A, C, H)
        bq1 = _bias(b_hh, 2, A, C, H)
        h1 = tl.zeros((ROWS, C), tl.float32)
        ir1, iz1, iq1 = _inputs(xp + cols1, live1, H)
    for t in range(T):
        xp += tl.where(t + 1 < T, B * 3 * H, 0)  # read ahead: the loads return while this step is computed
        fr, fz, fq = _inputs(xp + cols, live, H)
        a = h.to(w.dtype.element_ty)
        if TWO:
            fr1, fz1, fq1 = _inputs(xp + cols1, live1, H)
            a1 = h1.to(w.dtype.element_ty)
            q1 = _product(a, wn01, a1, wn11, TWO) + bq1
            s1 = _product(a, wr01, a1, wr11, TWO) + ir1 + br1
            u1 = _product(a, wz01, a1, wz11, TWO) + iz1 + bz1
            q = _product(a, wn, a1, wn10, TWO) + bq
            s = _product(a, wr, a1, wr10, TWO) + ir + br
            u = _product(a, wz, a1, wz10, TWO) + iz + bz
            h1 = _advance(h1, s1, u1, iq1 + bn1, q1, yp + cols1, kp + cols1, live1, H, KEEP)
            ir1, iz1, iq1 = fr1, fz1, fq1
        else:
            q = _product(a, wn, a, wn, TWO) + bq
            s = _product(a, wr, a, wr, TWO) + ir + br
            u = _product(a, wz, a, wz, TWO) + iz + bz
        h = _advance(h, s, u, iq + bn, q, yp + cols, kp + cols, live, H, KEEP)
        ir, iz, iq = fr, fz, fq
        yp += B * H
        if KEEP:
            kp += B * 4 * H


@triton.jit
def _kept(dyp, hp, kp, live, H: tl.constexpr):
    """What one group of columns needs of one step backwards: gradient of y, the state before, r, z, n, q."""
    d = tl.load(dyp, mask=live, other=0.0)
    h = tl.load(hp, mask=live, other=0.0)
    r = tl.load(kp, mask=live, other=0.0)
    z = tl.load(kp + H, mask=live, other=0.0)
    n = tl.load(kp + 2 * H, mask=live, other=0.0)
    q = tl.load(kp + 3 * H, mask=live, other=0.0)
    return d, h, r, z, n, q


@triton.jit
def _gradients(dh, h, r, z, n, q, first, gp, live, H: tl.constexpr):
    """Gradients by the sums of r, z, n and by q from `dh`, that of h', stored; and dh z, the part that passes by."""
    h = tl.where(first, 0.0, h.to(tl.float32))
    r = r.to(tl.float32)
    z = z.to(tl.float32)
    n = n.to(tl.float32)
    dz = dh * (h - n) * z * (1.0 - z)
    dn = dh * (1.0 - z) * (1.0 - n * n)
    dr = dn * q.to(tl.float32) * r * (1.0 - r)
    dq = dn * r
    half = gp.dtype.element_ty
    tl.store(gp, dr.to(half), mask=live)
    tl.store(gp + H, dz.to(half), mask=live)
    tl.store(gp + 2 * H, dn.to(half), mask=live)
    tl.store(gp + 3 * H, dq.to(half), mask=live)
    return dr, dz, dn, dq, dh * z


@triton.jit
def _sums(db, dr, dz, dn, dq, j0: tl.constexpr, J: tl.constexpr, H: tl.constexpr):
    """Store this program's sums over rows and steps: its part of the biases' gradients, (4, H)."""
    j = j0 + tl.arange(0, J)
    p = db + tl.program_id(0) * 4 * H + j
    tl.store(p, tl.sum(dr, 0), mask=j < H)
    tl.store(p + H, tl.sum(dz, 0), mask=j < H)
    tl.store(p + 2 * H, tl.sum(dn, 0), mask=j < H)
    tl.store(p + 3 * H, tl.sum(dq, 0), mask=j < H)


@triton.jit(do_not_specialize=["T", "B"])
def backward(dy, y, kept, w, dg, db, T, B, H: tl.constexpr, A: tl.constexpr, C: tl.constexpr, ROWS: tl.constexpr):
    """dy: gradient by y; dg: gradients by the sums of r, z, n and by q (T, B, 4H); db: (programs, 4, H) float32."""
    TWO: tl.constexpr = C > 0
    rows = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None]
    cols = tl.arange(0, A)[None, :]
    live = (rows < B) & (cols < H)
    wr = _weights(w, 0, 0, A, 0, A, H, True)
    wz = _weights(w, 1, 0, A, 0, A, H, True)
    wn = _weights(w, 2, 0, A, 0, A, H, True)
    end = (T - 1).to(tl.int64) * B  # rows before the last step
    before = tl.where(T > 1, B, 0)
    dyp = dy + end * H + rows * H
    hp = y + (end - before) * H + rows * H
    kp = kept + end * 4 * H + rows * (4 * H)
    gp = dg + end * 4 * H + rows * (4 * H)
    d, h, r, z, n, q = _kept(dyp + cols, hp + cols, kp + cols, live, H)
    dh = tl.zeros((ROWS, A), tl.float32)
    br = tl.zeros((ROWS, A), tl.float32)
    bz = tl.zeros((ROWS, A), tl.float32)
    bn = tl.zeros((ROWS, A), tl.float32)
    bq = tl.zeros((ROWS, A), tl.float32)
    if TWO:
        cols1 = A + tl.arange(0, C)[None, :]
        live1 = (rows < B) & (cols1 < H)
        wr01 = _weights(w, 0, 0, A, A, C, H, True)
        wz01 = _weights(w, 1, 0, A, A, C, H, True)
        wn01 = _weights(w, 2, 0, A, A, C, H, True)
        wr10 = _weights(w, 0, A, C, 0, A, H, True)
        wz10 = _weights(w, 1, A, C, 0, A, H, True)
        wn10 = _weights(w, 2, A, C, 0, A, H, True)
        wr11 = _weights(w, 0, A, C, A, C, H, True)
        wz11 = _weights(w, 1, A, C, A, C, H, True)
        wn11 = _weights(w, 2, A, C, A, C, H, True)
        d1, h1, r1, z1, n1, q1 = _kept(dyp + cols1, hp + cols1, kp + cols1, live1, H)
        dh1 = tl.zeros((ROWS, C), tl.float32)
        br1 = tl.zeros((ROWS, C), tl.float32)
        bz1 = tl.zeros((ROWS, C), tl.float32)
        bn1 = tl.zeros((ROWS, C), tl.float32)
        bq1 = tl.zeros((ROWS, C), tl.float32)
    for i in range(T):
        t = T - 1 - i
        dyp -= tl.where(t > 0, B * H, 0)
        kp -= tl.where(t > 0, B * 4 * H, 0)
        hp -= tl.where(t > 1, B * H, 0)
        fd, fh, fr, fz, fn, fq = _kept(dyp + cols, hp + cols, kp + cols, live, H)
        dr, dz, dn, dq, dh = _gradients(dh + d.to(tl.float32), h, r, z, n, q, t == 0, gp + cols, live, H)
        gr = dr.to(w.dtype.element_ty)
        gz = dz.to(w.dtype.element_ty)
        gq = dq.to(w.dtype.element_ty)
        if TWO:
            fd1, fh1, fr1, fz1, fn1, fq1 = _kept(dyp + cols1, hp + cols1, kp + cols1, live1, H)
            dr1, dz1, dn1, dq1, dh1 = _gradients(
                dh1 + d1.to(tl.float32), h1, r1, z1, n1, q1, t == 0, gp + cols1, live1, H
            )
            gr1 = dr1.to(w.dtype.element_ty)
            gz1 = dz1.to(w.dtype.element_ty)
            gq1 = dq1.to(w.dtype.element_ty)
            dh1 += _product(gr, wr01, gr1, wr11, TWO)
            dh1 += _product(gz, wz01, gz1, wz11, TWO)
            dh1 += _product(gq, wn01, gq1, wn11, TWO)
            dh += _product(gr, wr, gr1, wr10, TWO)
            dh += _product(gz, wz, gz1, wz10, TWO)
            dh += _product(gq, wn, gq1, wn10, TWO)
            br1 += dr1
            bz1 += dz1
            bn1 += dn1
            bq1 += dq1
            d1, h1, r1, z1, n1, q1 = fd1, fh1, fr1, fz1, fn1, fq1
        else:
            dh += _product(gr, wr, gr, wr, TWO)
            dh += _product(gz, wz, gz, wz, TWO)
            dh += _product(gq, wn, gq, wn, TWO)
        br += dr
        bz += dz
        bn += dn
        bq += dq
        d, h, r, z, n, q = fd, fh, fr, fz, fn, fq
        gp -= B * 4 * H
    _sums(db, br, bz, bn, bq, 0, A, H)
    if TWO:
        _sums(db, br1, bz1, bn1, bq1, A, C, H)
