"""draft"""
from __future__ import annotations
from typing import Any
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from lobmodels.networks import cpu_kernels as K
from lobmodels.networks.cpu_products import BLOCK, padded

def up(n, k): return -(-n//k)*k
def order(w, cell):
    if cell == K.LSTM: return w
    h = len(w)//3
    return torch.cat([w[2*h:], w[:2*h]])
def tiles(b): return [(s,min(s+K.TILE,b)) for s in range(0,b,K.TILE)]
def fwd(cell, x, w_ih, w_hh, b_ih, b_hh, keep):
    T,B,F=x.shape; H=w_hh.shape[1]
    if cell==K.GRU:
        bias=torch.cat([b_ih[2*H:], (b_ih+b_hh)[:2*H], b_hh[2*H:]])
    else: bias=b_ih+b_hh
    out=x.new_empty(T,B,H)
    gates=x.new_empty(T if keep else 0,B,4*H)
    cells=x.new_empty(T if keep and cell==K.LSTM else 0,B,H)
    a=[t.detach().numpy() for t in (x,order(w_ih,cell).T.contiguous(),w_hh.T.contiguous(),bias,out,gates,cells)]
    for s,e in tiles(B): K.forward(cell,*a,s,e)
    return out,gates,cells
class Layer(torch.autograd.Function):
    @staticmethod
    def forward(ctx,cell,x,w_ih,w_hh,b_ih,b_hh):
        out,gates,cells=fwd(cell,x,w_ih,w_hh,b_ih,b_hh,True)
        ctx.save_for_backward(x,w_ih,w_hh,out,gates,cells); ctx.cell=cell
        return out
    @staticmethod
    @once_differentiable
    def backward(ctx,grad):
        x,w_ih,w_hh,out,gates,cells=ctx.saved_tensors; cell=ctx.cell
        T,B,F=x.shape; H=w_hh.shape[1]; C=len(w_ih)
        gx=x.new_empty(T if ctx.needs_input_grad[1] else 0,B,F)
        ts=tiles(B)
        gi=x.new_zeros(len(ts),up(C,BLOCK),padded(F)); gh=x.new_zeros(len(ts),up(C,BLOCK),padded(H)); gb=x.new_zeros(len(ts),4*H)
        a=[t.detach().numpy() for t in (grad.contiguous(),x,order(w_ih,cell),w_hh.contiguous(),out,gates,cells,gx)]
        for k,(s,e) in enumerate(ts): K.backward(cell,*a,gi[k].numpy(),gh[k].numpy(),gb[k].numpy(),s,e)
        gi=gi.sum(0)[:C,:F]; gh=gh.sum(0)[:C,:H]; gb=gb.sum(0)
        if cell==K.GRU:
            gi=torch.cat([gi[H:],gi[:H]]); bi=torch.cat([gb[H:3*H],gb[:H]]); bh=gb[H:]
        else: bi=bh=gb
        return None,gx if ctx.needs_input_grad[1] else None,gi,gh,bi,bh
def run(rec,x):
    cell=K.LSTM if isinstance(rec,nn.LSTM) else K.GRU
    keep=torch.is_grad_enabled()
    for l,w in enumerate(rec.all_weights):
        x = Layer.apply(cell,x,*w) if keep else fwd(cell,x,*w,False)[0]
    return x
