// What the Node.js peers share: the check of a webhook's signature, the server, and how they talk to the benchmark.
import { createHmac, timingSafeEqual } from 'node:crypto'
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'

const SECRET = 'whsec_bench'
// Seconds that a signature may be old, as Stripe's own libraries have it.
const TOLERANCE = 300

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')

// Stripe's scheme: HMAC-SHA256 over the time and the raw body.
function isAuthentic (body, header = '') {
  const { t = '', v1 = '' } = Object.fromEntries(header.split(',').map((part) => part.split('=', 2)))
  const signed = createHmac('sha256', SECRET).update(`${t}.`).update(body).digest()
  const given = Buffer.from(v1, 'hex')
  const fresh = Math.abs(Date.now() / 1000 - Number(t)) <= TOLERANCE
  return given.length === signed.length && timingSafeEqual(given, signed) && fresh
}

async function bodyOf (request) {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  return Buffer.concat(chunks)
}

function answer (response, status, document) {
  const body = JSON.stringify(document)
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) })
  response.end(body)
}

// `store` stores an event durably, and tells whether it was there before.
export function serve (store) {
  const server = createServer(async (request, response) => {
    const body = await bodyOf(request)
    if (request.method !== 'POST' || request.url !== '/webhooks/stripe') return answer(response, 404, {})
    if (!isAuthentic(body, request.headers['stripe-signature'])) return answer(response, 401, {})
    try {
      const duplicate = await store(JSON.parse(body))
      answer(response, 200, { received: true, duplicate })
    } catch (error) {
      console.error(error)
      answer(response, 503, {})
    }
  })
  server.listen(0, '127.0.0.1', () => say({ port: server.address().port }))
}

// Everything is loaded: wait until the benchmark says that it may begin.
export async function awaitStart () {
  say('ready')
  await lines.next()
}

// The worker is connected; from now on it tells how many it has handled, whenever it is asked.
export async function begun (handled = () => 0) {
  say('begun')
  for await (const _ of lines) say(handled())
}
