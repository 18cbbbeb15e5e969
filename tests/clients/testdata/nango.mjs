// Nango's own client against our provider: the calls an operator makes, and a
// proxied call with a voucher that is signed here as the gate signs it.
import { createHash, createPrivateKey, randomUUID, sign } from 'node:crypto'
import { Nango } from '@nangohq/node'

const { HOST, OPERATOR_KEY, PROXY_KEY, PERMIT_SEED, API, TOKEN_URL } = process.env
const operator = new Nango({ host: HOST, secretKey: OPERATOR_KEY })
const gate = new Nango({ host: HOST, secretKey: PROXY_KEY })
const out = {}

const b64 = (v) => Buffer.from(v).toString('base64url')
const digest = (v) => createHash('sha256').update(v).digest('base64url')
const seed = Buffer.from(PERMIT_SEED, 'base64')
const key = createPrivateKey({ key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]), format: 'der', type: 'pkcs8' })
const kid = createHash('sha256').update(Buffer.from(process.env.PERMIT_PUBLIC, 'base64')).digest().subarray(0, 9).toString('base64url')

// part is a text behind its length, as the digest of the headers has it.
const part = (s) => Buffer.concat([Buffer.from([s.length]), Buffer.from(s)])

async function voucher(method, target, headers = {}, body = '') {
  const audience = (await (await fetch(HOST + '/healthz')).json()).audience
  const now = Math.floor(Date.now() / 1000)
  const sent = Buffer.concat(Object.keys(headers).sort().flatMap((name) => [part(name), part(headers[name])]))
  const head = b64(JSON.stringify({ alg: 'EdDSA', typ: 'vouchsafe-voucher+jwt', kid }))
  const claims = b64(JSON.stringify({ jti: randomUUID(), aud: [audience], iat: now, exp: now + 30, site: 'shop', connection: 'admin',
    htm: method, target, headers: digest(sent), body: digest(body) }))
  return head + '.' + claims + '.' + sign(null, Buffer.from(head + '.' + claims), key).toString('base64url')
}

async function refused(what, call) {
  try {
    await call()
    out[what] = 'let through'
  } catch (e) {
    out[what] = e.response ? e.response.status + ' ' + e.response.data?.error?.code : String(e)
  }
}

await fetch(HOST + '/connections', { method: 'POST', headers: { authorization: 'Bearer ' + OPERATOR_KEY, 'content-type': 'application/json' },
  body: JSON.stringify({ provider_config_key: 'shop', connection_id: 'admin', credentials: { type: 'API_KEY', apiKey: process.env.API_KEY },
    connection_config: { base_url: API, header: 'X-Api-Key' }, allow: [{ method: 'GET', path: '/orders/{id}' }] }) })
await fetch(HOST + '/connections', { method: 'POST', headers: { authorization: 'Bearer ' + OPERATOR_KEY, 'content-type': 'application/json' },
  body: JSON.stringify({ provider_config_key: 'shop', connection_id: 'crm', credentials: { type: 'OAUTH2', client_secret: process.env.API_KEY },
    connection_config: { base_url: API, client_id: 'v', client_auth: 'basic', token_url: TOKEN_URL, authorization_url: TOKEN_URL } }) })

const list = await operator.listConnections()
out.list = list.connections.map((c) => [c.provider_config_key, c.connection_id].join('/'))
const one = await operator.getConnection('shop', 'admin')
out.get = [one.connection_id, one.provider_config_key, one.credentials.type, JSON.stringify(one).includes(process.env.API_KEY)]
await operator.setMetadata('shop', 'admin', { plan: 'pro' })
await operator.updateMetadata('shop', 'admin', { seats: 3 })
out.metadata = await operator.getMetadata('shop', 'admin')
const session = await operator.createReconnectSession({ connection_id: 'crm', integration_id: 'shop' })
out.reconnect = new URL(session.data.connect_link).searchParams.get('code_challenge_method')
const first = await operator.createConnectSession({ allowed_integrations: ['shop'], end_user: { id: 'operator' } })
out.connect = new URL(first.data.connect_link).searchParams.get('client_id')

const proxied = (endpoint, headers) => gate.proxy({ method: 'GET', endpoint, providerConfigKey: 'shop', connectionId: 'admin', retries: 0, headers })
const reply = await proxied('/orders/1001', { 'Vouchsafe-Voucher': await voucher('GET', '/orders/1001') })
out.proxy = [reply.status, reply.data.id]
const again = await voucher('GET', '/orders/1002')
await proxied('/orders/1002', { 'Vouchsafe-Voucher': again })
await refused('used', () => proxied('/orders/1002', { 'Vouchsafe-Voucher': again }))
await refused('without', () => proxied('/orders/1001'))
await refused('other path', async () => proxied('/orders/1003', { 'Vouchsafe-Voucher': await voucher('GET', '/orders/1001') }))
await refused('no rule', async () => proxied('/customers', { 'Vouchsafe-Voucher': await voucher('GET', '/customers') }))
await refused('override', async () => gate.proxy({ method: 'GET', endpoint: '/orders/1001', providerConfigKey: 'shop', connectionId: 'admin',
  baseUrlOverride: 'https://evil.example', headers: { 'Vouchsafe-Voucher': await voucher('GET', '/orders/1001') } }))
await refused('gate lists', () => gate.listConnections())
await operator.deleteConnection('shop', 'crm')
await refused('deleted', () => operator.getConnection('shop', 'crm'))
console.log(JSON.stringify(out))
