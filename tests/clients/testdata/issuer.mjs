// An OAuth server, and an API that takes its access tokens, on one loopback
// port. It is told on standard input, line by line: "browse URL" grants access
// as a person with a browser would and answers with what the last page says,
// "revoke" takes all grants back, "renewals" and "calls" count.
import { generateKeyPairSync } from 'node:crypto'
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'
import Provider from 'oidc-provider'

const scope = 'openid offline_access'
let provider, issuer, renewals = 0, calls = 0
const grants = new Set()

async function interact(req, res) {
  const { prompt, params } = await provider.interactionDetails(req, res)
  if (prompt.name === 'login') {
    return provider.interactionFinished(req, res, { login: { accountId: 'robot' } }, { mergeWithLastSubmission: false })
  }
  const grant = new provider.Grant({ accountId: 'robot', clientId: params.client_id })
  grant.addOIDCScope(scope)
  const grantId = await grant.save()
  grants.add(grantId)
  return provider.interactionFinished(req, res, { consent: { grantId } }, { mergeWithLastSubmission: true })
}

async function api(req, res) {
  calls++
  const token = await provider.AccessToken.find((req.headers.authorization ?? '').replace('Bearer ', ''))
  res.setHeader('Content-Type', 'application/json')
  if (!token) {
    res.writeHead(401, { 'WWW-Authenticate': 'Bearer error="invalid_token"' })
    return res.end('{}')
  }
  res.end(JSON.stringify({ state: 'open', seen: req.headers.authorization }))
}

const server = createServer((req, res) => {
  const to = req.url.startsWith('/api/') ? api : req.url.startsWith('/interaction/') ? interact : provider.callback()
  Promise.resolve(to(req, res)).catch((e) => { res.statusCode = 500; res.end(String(e)) })
})
await new Promise((done) => server.listen(0, '127.0.0.1', done))
issuer = 'http://127.0.0.1:' + server.address().port
provider = new Provider(issuer, {
  clients: [{
    client_id: 'vouchsafe', client_secret: process.env.CLIENT_SECRET, application_type: 'native',
    redirect_uris: ['http://127.0.0.1/oauth/callback'], grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'],
  }],
  jwks: { keys: [{ ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }), kid: 'A', alg: 'ES256', use: 'sig' }] },
  cookies: { keys: ['of-the-test-issuer'] },
  features: { devInteractions: { enabled: false } },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  interactions: { url: (_, interaction) => '/interaction/' + interaction.uid },
  pkce: { required: () => true },
  rotateRefreshToken: true,
  clientBasedCORS: () => false,
  enabledJWA: { idTokenSigningAlgValues: ['ES256', 'RS256'] },
  clientDefaults: { id_token_signed_response_alg: 'ES256' },
  ttl: { AccessToken: 3, AuthorizationCode: 60, Grant: 3600, IdToken: 300, Interaction: 300, Session: 300, RefreshToken: 3600 },
})
provider.on('grant.success', (ctx) => { if (ctx.oidc.params.grant_type === 'refresh_token') renewals++ })

async function browse(at) {
  const cookies = {}
  for (;;) {
    const own = at.startsWith(issuer)
    const cookie = Object.entries(cookies).map(([name, value]) => name + '=' + value).join('; ')
    const res = await fetch(at, { redirect: 'manual', headers: own ? { cookie } : {} })
    for (const c of res.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(c)
      cookies[name] = value
    }
    if (!res.headers.get('location')) return `${res.status} ${(await res.text()).split('\n')[0]}`
    at = new URL(res.headers.get('location'), at).href
  }
}

console.log(issuer)
for await (const line of createInterface({ input: process.stdin })) {
  const [what, arg] = line.split(' ')
  switch (what) {
    case 'browse':
      console.log(await browse(arg))
      break
    case 'revoke':
      for (const id of grants) await (await provider.Grant.find(id))?.destroy()
      for (const id of grants) await provider.RefreshToken.adapter.revokeByGrantId(id)
      console.log('ok')
      break
    case 'renewals':
      console.log(renewals)
      break
    case 'calls':
      console.log(calls)
      break
  }
}
process.exit()
