"""An MPI library in the bench `collectives`, through mpi4py, which adds one or two microseconds to each call.

    mpiexec -n 2 python collectives_mpi.py <socket>
"""
import sys

import numpy
from mpi4py import MPI

from turns import collective_turn, obey

world = MPI.COMM_WORLD
rank, size = world.Get_rank(), world.Get_size()


def operation_of(op, size_in_bytes, value):
    count = size_in_bytes // 4
    whole, part = numpy.full(count, value, numpy.float32), numpy.full(count // size, value, numpy.float32)
    gathered, received, scattered = (numpy.empty(n, numpy.float32) for n in (count, count, count // size))

    def all_reduce():
        world.Allreduce(MPI.IN_PLACE, whole)
        return whole

    def all_gather():
        world.Allgather(part, gathered)
        return gathered

    def reduce_scatter():
        world.Reduce_scatter_block(whole, scattered)
        return scattered

    def exchange():
        world.Sendrecv(whole, (rank + 1) % size, recvbuf=received, source=(rank - 1) % size)
        return received

    return {"allReduce": all_reduce, "allGather": all_gather, "reduceScatter": reduce_scatter, "exchange": exchange}[op]


who = MPI.Get_library_version().split(",")[0].split("\n")[0].replace("\t", " ").strip("\0 ")
obey(sys.argv[1], rank, who, collective_turn(operation_of))
