// An OpenID provider on a loopback port. It is told on standard input, line by
// line: "keys B A" publishes those keys and signs with the first, "token" signs
// a user in and answers with the ID token, "down" and "up" close and open its
// port.
import { generateKeyPairSync } from 'node:crypto'
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'
import Provider from 'oidc-provider'

const user = JSON.parse(process.env.TEST_USER)
const client = { id: 'vouchsafe-shop', secret: 'of-the-test-client', redirect: 'http://127.0.0.1/back' }
const scope = 'openid email profile'

const made = {}
function key(kid) {
  made[kid] ??= { ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' }
  return made[kid]
}

let issuer, port, server, provider

// publish makes the provider anew: its keys are fixed while it lives.
function publish(kids) {
  provider = new Provider(issuer, {
    clients: [{
      client_id: client.id, client_secret: client.secret, redirect_uris: [client.redirect],
      grant_types: ['authorization_code'], response_types: ['code'], id_token_signed_response_alg: 'ES256',
    }],
    jwks: { keys: kids.map(key) },
    cookies: { keys: ['of-the-test-provider'] },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
    conformIdTokenClaims: false, // the scopes' claims are in the ID token
    features: { devInteractions: { enabled: false } },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, email: user.email, email_verified: user.emailVerified, name: user.name }),
    }),
    interactions: { url: (_, interaction) => '/interaction/' + interaction.uid },
    pkce: { required: () => false },
    ttl: { AccessToken: 300, AuthorizationCode: 60, Grant: 300, IdToken: 300, Interaction: 300, Session: 300 },
  })
}

// interact signs the user in and consents, as a person would on two pages.
async function interact(req, res) {
  const { prompt, params } = await provider.interactionDetails(req, res)
  if (prompt.name === 'login') {
    return provider.interactionFinished(req, res, { login: { accountId: user.id } }, { mergeWithLastSubmission: false })
  }
  const grant = new provider.Grant({ accountId: user.id, clientId: params.client_id })
  grant.addOIDCScope(scope)
  return provider.interactionFinished(req, res, { consent: { grantId: await grant.save() } }, { mergeWithLastSubmission: true })
}

function listen() {
  return new Promise((done, failed) => {
    server = createServer((req, res) => {
      if (!provider) {
        res.statusCode = 503 // no keys yet
        return res.end()
      }
      if (!req.url.startsWith('/interaction/')) return provider.callback()(req, res)
      interact(req, res).catch((e) => { res.statusCode = 500; res.end(String(e)) })
    })
    server.on('error', failed)
    server.listen(port ?? 0, '127.0.0.1', done)
  })
}

// token goes through the authorization code flow as a browser and a client do.
async function token() {
  const cookies = {}
  let at = issuer + '/auth?' + new URLSearchParams({ client_id: client.id, redirect_uri: client.redirect, response_type: 'code', scope })
  while (!at.startsWith(client.redirect)) {
    const cookie = Object.entries(cookies).map(([name, value]) => name + '=' + value).join('; ')
    const res = await fetch(at, { redirect: 'manual', headers: { cookie } })
    for (const c of res.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(c)
      cookies[name] = value
    }
    if (!res.headers.get('location')) throw new Error(`${at}: ${res.status} ${await res.text()}`)
    at = new URL(res.headers.get('location'), at).href
  }
  const res = await fetch(issuer + '/token', {
    method: 'POST',
    headers: { authorization: 'Basic ' + Buffer.from(client.id + ':' + client.secret).toString('base64') },
    body: new URLSearchParams({ grant_type: 'authorization_code', code: new URL(at).searchParams.get('code'), redirect_uri: client.redirect }),
  })
  const got = await res.json()
  if (!got.id_token) throw new Error(JSON.stringify(got))
  return got.id_token
}

await listen()
port = server.address().port
issuer = 'http://127.0.0.1:' + port
console.log(issuer)
for await (const line of createInterface({ input: process.stdin })) {
  const [what, ...kids] = line.split(' ')
  switch (what) {
    case 'keys':
      publish(kids)
      console.log('ok')
      break
    case 'token':
      console.log(await token())
      break
    case 'down':
      await new Promise((done) => { server.close(done); server.closeAllConnections() })
      console.log('ok')
      break
    case 'up':
      await listen()
      console.log('ok')
      break
  }
}
process.exit()
