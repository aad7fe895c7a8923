import test from 'ava'
import { createFastTransport } from '../../sidecar/transport/fast/transport.ts'
import { createGrpcJsTransport } from '../../sidecar/transport/grpc-js.ts'
import { testTransport } from './transport.ts'

testTransport(test, 'grpc-js', createGrpcJsTransport)
testTransport(test, 'fast', () => createFastTransport(Date.now))
