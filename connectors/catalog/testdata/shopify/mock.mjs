// Executes queries against Shopify's published schema: what the schema does not
// allow is refused, and what it allows is answered with made-up values of the
// types that it says. Usage: node mock.mjs SCHEMA.json EMAIL
import {createServer} from 'node:http'
import {readFileSync} from 'node:fs'
import {buildClientSchema, defaultFieldResolver, getNamedType, getNullableType, graphql, isEnumType, isListType, isObjectType, isScalarType} from 'graphql'

const [file, email] = process.argv.slice(2)
const parsed = JSON.parse(readFileSync(file, 'utf8'))
const schema = buildClientSchema(parsed.data ?? parsed)

// What a mock must say to be of use: an order of somebody's, no next page, no errors.
const known = {email, hasNextPage: false, orderCancelUserErrors: [], userErrors: [], cancelledAt: null, number: '1001'}
const scalars = {Int: 1, Float: 1, Boolean: true, Decimal: '19.99', DateTime: '2026-11-01T10:00:00Z', URL: 'https://shop.example/', ID: 'gid://shopify/Order/1'}

function value(type, field) {
  const bare = getNullableType(type)
  if (isListType(bare)) return [value(bare.ofType, field)]
  if (isEnumType(bare)) return bare.getValues()[0].value
  if (isScalarType(bare)) return scalars[bare.name] ?? (field === 'name' ? '#1001' : 'text')
  if (isObjectType(bare)) return {}
  throw new Error(`no value of ${getNamedType(type)}`)
}

function fieldResolver(source, args, context, info) {
  if (info.fieldName in known) return known[info.fieldName]
  return defaultFieldResolver(source, args, context, info) ?? value(info.returnType, info.fieldName)
}

const server = createServer(async (request, response) => {
  let body = ''
  for await (const part of request) body += part
  const {query, variables} = JSON.parse(body)
  const result = await graphql({schema, source: query, variableValues: variables, rootValue: {}, fieldResolver})
  response.setHeader('Content-Type', 'application/json')
  response.end(JSON.stringify(result))
})
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`))
process.stdin.resume()
process.stdin.on('end', () => process.exit(0)) // with the test that started it
