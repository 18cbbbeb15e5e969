// Prints two tokens, or with --serve answers POST /token on a loopback port.
import { createServer } from 'node:http'
import { visitorToken, vouchsafeToken } from './recipe.mjs'

const user = JSON.parse(process.env.TEST_USER)

if (process.argv[2] !== '--serve') {
  console.log(await visitorToken(user))
  console.log(await visitorToken(user))
} else {
  const server = createServer((req, res) => {
    if (req.headers.cookie === 'session=of-alex') req.user = user
    if (req.method !== 'POST') {
      res.statusCode = 405
      return res.end()
    }
    return vouchsafeToken(req, res)
  })
  server.listen(0, '127.0.0.1', () => console.log('http://127.0.0.1:' + server.address().port + '/token'))
  process.stdin.on('end', () => process.exit()).resume()
}
