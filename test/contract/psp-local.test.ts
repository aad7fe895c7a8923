import test from 'ava'
import { testPsp } from './psp.ts'

testPsp(test, 'local')
